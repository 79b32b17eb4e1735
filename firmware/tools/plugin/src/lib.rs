//! A plugin for QEMU (TCG plugin interface, version 1) that counts the instructions of two cores, executed one by one.
//!
//! Arguments, addresses in hexadecimal:
//! - `phase=N@ADDRESS`: from the instruction at `ADDRESS` on, any core's, counts are those of phase `N`; 0 counts nothing;
//! - `wait=FROM-TO`: instructions there are waiting, all others are work;
//! - `fork=ADDRESS`: when core 0 is there, both cores get work; it joins them when it works again after having waited;
//! - `out=PATH`: the file that the counts are written to when the machine ends.
//!
//! The file has a line for each phase: its number, core 0's work and waiting, core 1's, and the span: the work that is left when
//! what two cores do between a fork and its join is counted once, for the core that does more.

mod api;
mod count;

use count::{Counts, Event};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

/// What the arguments say.
#[derive(Default)]
struct Options {
    events: Vec<(u64, Event)>,
    waits: Vec<Range<u64>>,
    out: PathBuf,
}

static OPTIONS: OnceLock<Options> = OnceLock::new();
static COUNTS: Mutex<Counts> = Mutex::new(Counts::NONE);

impl Options {
    /// Takes one argument; `None` when it is not one.
    fn take(&mut self, argument: &str) -> Option<()> {
        let address = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
        match argument.split_once('=')? {
            ("phase", value) => {
                let (phase, at) = value.split_once('@')?;
                self.events.push((address(at)?, Event::Phase(phase.parse().ok()?)));
            }
            ("wait", value) => {
                let (from, to) = value.split_once('-')?;
                self.waits.push(address(from)?..address(to)?);
            }
            ("fork", value) => self.events.push((address(value)?, Event::Fork)),
            ("out", value) => self.out = value.into(),
            _ => return None,
        }
        Some(())
    }

    /// What the instruction at `address` stands for.
    fn event(&self, address: u64) -> Event {
        let event = self.events.iter().find(|&&(at, _)| at == address).map(|&(_, event)| event);
        let waits = self.waits.iter().any(|range| range.contains(&address));
        event.unwrap_or(if waits { Event::Wait } else { Event::Work })
    }
}

/// QEMU looks here for the version of the interface.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 1;

/// QEMU calls this first, with the arguments `argv[..argc]`. A result other than zero refuses them.
///
/// # Safety
/// `argv` must hold `argc` strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _: *const c_void,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    let mut options = Options::default();
    for index in 0..usize::try_from(argc).unwrap_or(0) {
        // SAFETY: QEMU passes `argc` strings that live during the call.
        let argument = unsafe { CStr::from_ptr(*argv.add(index)) }.to_string_lossy();
        if options.take(&argument).is_none() {
            eprintln!("ocelli-qemu-plugin: `{argument}` is no argument");
            return 1;
        }
    }
    if OPTIONS.set(options).is_err() {
        return 1;
    }
    // SAFETY: `id` is this plugin's, and both functions are of the kind that is asked for.
    unsafe {
        api::qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
        api::qemu_plugin_register_atexit_cb(id, ended, std::ptr::null_mut());
    }
    0
}

/// A block has been translated: asks to be told when one of its instructions is executed.
extern "C" fn translated(_id: u64, block: *mut c_void) {
    let Some(options) = OPTIONS.get() else { return };
    // SAFETY: QEMU lends the block and its instructions for this call; the indices are those of its instructions.
    unsafe {
        for index in 0..api::qemu_plugin_tb_n_insns(block) {
            let instruction = api::qemu_plugin_tb_get_insn(block, index);
            let event = options.event(api::qemu_plugin_insn_vaddr(instruction));
            api::qemu_plugin_register_vcpu_insn_exec_cb(instruction, executed, api::NO_REGISTERS, event.to_pointer());
        }
    }
}

/// Core `core` executes an instruction.
extern "C" fn executed(core: u32, event: *mut c_void) {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner).add(core, Event::from_pointer(event));
}

/// The machine has ended: writes the counts.
extern "C" fn ended(_id: u64, _: *mut c_void) {
    let Some(options) = OPTIONS.get() else { return };
    let text = COUNTS.lock().unwrap_or_else(PoisonError::into_inner).to_text();
    if let Err(error) = std::fs::write(&options.out, text) {
        eprintln!("ocelli-qemu-plugin: {}: {error}", options.out.display());
    }
}
