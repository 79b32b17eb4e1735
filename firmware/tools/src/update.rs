//! An emulated board that takes models over its UART, and that can be reset at any time.

use crate::boards::Board;
use crate::build::{self, BuildError, Firmware};
use crate::qemu::{RunError, Running};
use crate::toolchain::{Toolchain, find_emulator};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long QEMU may take to start, or to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a reading of the UART's line waits.
const LINE_TIMEOUT: Duration = Duration::from_millis(20);

/// Builds the firmware that takes models over its UART for `board`, with the model at `model` built in. With a key it takes signed models
/// only. `target_dir` is as for [`build`](crate::build()).
///
/// # Errors
/// As [`build`](crate::build()).
pub fn build(
    board: &'static Board,
    toolchain: &Toolchain,
    model: &Path,
    key: Option<&[u8; 32]>,
    target_dir: Option<&Path>,
) -> Result<Firmware, BuildError> {
    build::build_update(board, toolchain, model, key, target_dir)
}

/// A running board; it ends with this value.
pub struct Emulated {
    line: TcpStream,
    control: BufReader<TcpStream>,
    _qemu: Running,
}

impl Emulated {
    /// Starts a board. Its RAM, the part that stands for flash memory included, is all zeros.
    ///
    /// # Errors
    /// When QEMU is missing or does not start.
    pub fn start(board: &'static Board, elf: &Path) -> Result<Self, RunError> {
        let emulator = find_emulator(board)?;
        // QEMU connects to us: so there is no port to guess.
        let [uart, qmp] = [(); 2].map(|()| TcpListener::bind(("127.0.0.1", 0)));
        let (uart, qmp) = (uart.map_err(at("UART"))?, qmp.map_err(at("QMP"))?);
        let address = |listener: &TcpListener| listener.local_addr().map_err(at("address"));
        let mut child = Command::new(emulator.program)
            .args(emulator.machine)
            .args(["-display", "none", "-monitor", "none", "-semihosting-config", "enable=on,target=native"])
            .args(["-serial", &format!("tcp:{},nodelay=on", address(&uart)?)])
            .args(["-qmp", &format!("tcp:{}", address(&qmp)?)])
            .arg("-kernel")
            .arg(elf)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(Running)
            .map_err(at(emulator.program))?;
        let line = accept(&uart, &mut child)?;
        line.set_nodelay(true).map_err(at("UART"))?;
        line.set_read_timeout(Some(LINE_TIMEOUT)).map_err(at("UART"))?;
        let control = accept(&qmp, &mut child)?;
        control.set_read_timeout(Some(PATIENCE)).map_err(at("QMP"))?;
        let mut board = Self { line, control: BufReader::new(control), _qemu: child };
        board.command("qmp_capabilities", None)?;
        Ok(board)
    }

    /// The UART's other end: for [`Stream`](crate::push::Stream).
    pub const fn line_mut(&mut self) -> &mut TcpStream {
        &mut self.line
    }

    /// Resets the board, as its reset button would: RAM keeps what it holds. What was sent and not yet received still comes.
    ///
    /// # Errors
    /// When QEMU does not answer.
    pub fn reset(&mut self) -> Result<(), RunError> {
        self.command("system_reset", Some("\"RESET\""))
    }

    /// Has QEMU carry out a command of its machine protocol (QMP) that has no arguments, and waits for an event that it leads to: the
    /// command may have been taken and not yet carried out.
    fn command(&mut self, name: &str, event: Option<&str>) -> Result<(), RunError> {
        let failed = || at("QMP");
        writeln!(self.control.get_mut(), "{{\"execute\": \"{name}\"}}").map_err(failed())?;
        let (mut is_taken, mut is_done) = (false, event.is_none());
        while !(is_taken && is_done) {
            let mut line = String::new();
            if self.control.read_line(&mut line).map_err(failed())? == 0 {
                return Err(failed()(ErrorKind::UnexpectedEof.into()));
            }
            // The rest is the greeting, and other events.
            is_taken |= line.starts_with("{\"return\"");
            is_done |= event.is_some_and(|event| line.contains("\"event\"") && line.contains(event));
            if line.starts_with("{\"error\"") {
                return Err(failed()(io::Error::other(line)));
            }
        }
        Ok(())
    }
}

/// Waits for QEMU to connect.
fn accept(listener: &TcpListener, qemu: &mut Running) -> Result<TcpStream, RunError> {
    let start = Instant::now();
    listener.set_nonblocking(true).map_err(at("QEMU's connection"))?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).map_err(at("QEMU's connection"))?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(at("QEMU's connection")(error)),
        }
        let ended = qemu.0.try_wait().map_err(at("QEMU"))?;
        if let Some(status) = ended {
            return Err(at("QEMU")(io::Error::other(format!("it ended ({status})"))));
        }
        if start.elapsed() > PATIENCE {
            return Err(at("QEMU")(ErrorKind::TimedOut.into()));
        }
        sleep(Duration::from_millis(5));
    }
}

fn at(what: &str) -> impl FnOnce(io::Error) -> RunError {
    let what = what.to_owned();
    move |error| RunError::File { what, error }
}
