//! Lines to devices by their names: serial ports, and TCP for emulators and serial servers.

use super::Stream;
use serial2::SerialPort;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a reading waits: [`Stream`] asks again.
const READ_TIMEOUT: Duration = Duration::from_millis(10);
/// What a name begins with that is no serial port.
const TCP: &str = "tcp:";

/// What a line is made of.
pub trait ReadWrite: Read + Write + Send {}

impl<T: Read + Write + Send> ReadWrite for T {}

/// A line was not opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {name}: {reason}{}", hint(.ports))]
pub struct OpenError {
    /// Its name.
    pub name: String,
    /// The reason.
    pub reason: String,
    /// The serial ports that there are, where a port was wanted.
    pub ports: Option<Vec<String>>,
}

/// Opens a line: a serial port (`/dev/ttyACM0`, `COM3`) at a speed in bits a second, eight bits without parity; or `tcp:HOST:PORT`.
///
/// # Errors
/// When it cannot be opened; the error names the ports that there are.
pub fn open(name: &str, baud: u32) -> Result<Stream<Box<dyn ReadWrite>>, OpenError> {
    if let Some(address) = name.strip_prefix(TCP) {
        let connect = || -> io::Result<TcpStream> {
            let line = TcpStream::connect(address)?;
            line.set_nodelay(true)?;
            line.set_read_timeout(Some(READ_TIMEOUT))?;
            Ok(line)
        };
        let failed = |error: io::Error| OpenError { name: name.to_owned(), reason: error.to_string(), ports: None };
        return Ok(Stream(Box::new(connect().map_err(failed)?)));
    }
    let open = || -> io::Result<SerialPort> {
        let mut port = SerialPort::open(name, baud)?;
        port.set_read_timeout(READ_TIMEOUT)?;
        Ok(port)
    };
    let failed =
        |error: io::Error| OpenError { name: name.to_owned(), reason: error.to_string(), ports: Some(ports()) };
    let port = open().map_err(failed)?;
    // A USB device sends nothing before somebody is there; a line without that signal need not have it.
    let _ = port.set_dtr(true);
    Ok(Stream(Box::new(port)))
}

/// The serial ports that there are.
#[must_use]
pub fn ports() -> Vec<String> {
    let ports = SerialPort::available_ports().unwrap_or_default();
    let mut names: Vec<String> = ports.into_iter().map(|port| port.display().to_string()).collect();
    names.sort();
    names
}

fn hint(ports: &Option<Vec<String>>) -> String {
    match ports.as_deref() {
        None => String::new(),
        Some([]) => ": there is no serial port: is the device plugged in?".to_owned(),
        Some(ports) => format!("; the serial ports are: {}", ports.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::Port;
    use std::net::TcpListener;

    #[test]
    fn what_is_not_there_is_named() {
        let error = open("/dev/no-such-port", 115_200).err().unwrap().to_string();
        assert!(error.starts_with("cannot open /dev/no-such-port: "), "{error}");
        assert!(error.contains("serial port: is") || error.contains("; the serial ports are: "), "{error}");
        let error = open("tcp:no address", 115_200).err().unwrap().to_string();
        assert!(error.starts_with("cannot open tcp:no address: ") && !error.contains("serial port"), "{error}");
    }

    #[test]
    fn bytes_come_and_go_over_tcp() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let mut line = open(&format!("tcp:{}", listener.local_addr().unwrap()), 0).unwrap();
        let (mut device, _) = listener.accept().unwrap();
        line.send(b"who").unwrap();
        let mut buffer = [0; 8];
        device.read_exact(&mut buffer[..3]).unwrap();
        assert_eq!(&buffer[..3], b"who");
        assert_eq!(line.receive(&mut buffer, Duration::from_millis(5)).unwrap(), 0);
        device.write_all(b"me").unwrap();
        assert_eq!(line.receive(&mut buffer, Duration::from_secs(5)).unwrap(), 2);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn bytes_come_and_go_over_a_terminal() {
        use std::os::fd::AsRawFd;
        let (mut device, other) = SerialPort::pair().unwrap();
        let name = std::fs::read_link(format!("/proc/self/fd/{}", other.as_raw_fd())).unwrap();
        let mut line = open(name.to_str().unwrap(), 115_200).unwrap();
        // all bytes, those among them that a terminal would take for commands
        let every: Vec<u8> = (0..=255).collect();
        line.send(&every).unwrap();
        let mut buffer = [0; 256];
        device.set_read_timeout(Duration::from_secs(5)).unwrap();
        device.read_exact(&mut buffer).unwrap();
        assert_eq!(buffer[..], every);
        device.write_all(&every).unwrap();
        let (mut came, mut part) = (Vec::<u8>::new(), [0; 64]);
        while came.len() < every.len() {
            let count = line.receive(&mut part, Duration::from_secs(5)).unwrap();
            assert!(count > 0);
            came.extend(&part[..count]);
        }
        assert_eq!(came, every);
    }
}
