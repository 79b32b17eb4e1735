//! Counts by phase and core, and their span.

use std::ffi::c_void;
use std::ptr::without_provenance_mut;

/// Phases that are counted, numbered from 1.
const PHASES: usize = 2;
/// Cores that are counted.
const CORES: usize = 2;

/// What the execution of an instruction stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Work.
    Work,
    /// Waiting.
    Wait,
    /// Work, and both cores have some from now on.
    Fork,
    /// The end of a phase, and the beginning of this one: 0 is none. Not counted itself.
    Phase(u8),
}

impl Event {
    /// As a pointer that points nowhere, which is what QEMU hands back.
    pub fn to_pointer(self) -> *mut c_void {
        without_provenance_mut(match self {
            Self::Work => 0,
            Self::Wait => 1,
            Self::Fork => 2,
            Self::Phase(phase) => 3 + usize::from(phase),
        })
    }

    /// The event that [`to_pointer`](Self::to_pointer) was called for.
    pub fn from_pointer(pointer: *mut c_void) -> Self {
        match pointer.addr() {
            0 => Self::Work,
            1 => Self::Wait,
            2 => Self::Fork,
            phase => Self::Phase(u8::try_from(phase - 3).unwrap_or(0)),
        }
    }
}

/// Instructions of a phase.
#[derive(Clone, Copy)]
struct Phase {
    work: [u64; CORES],
    wait: [u64; CORES],
    span: u64,
}

/// All counts.
pub struct Counts {
    phases: [Phase; PHASES],
    /// The phase that is counted, if any.
    phase: Option<usize>,
    /// Each core's work since the latest fork or join.
    since: [u64; CORES],
    /// Whether core 0 waits for core 1.
    joining: bool,
}

impl Counts {
    /// Nothing counted yet.
    pub const NONE: Self = Self {
        phases: [Phase { work: [0; CORES], wait: [0; CORES], span: 0 }; PHASES],
        phase: None,
        since: [0; CORES],
        joining: false,
    };

    /// Counts an instruction of `core`.
    pub fn add(&mut self, core: u32, event: Event) {
        if let Event::Phase(phase) = event {
            self.meet();
            self.phase = usize::from(phase).checked_sub(1);
            return;
        }
        let core = core as usize; // no machine has 2^32 cores
        let Some(phase) = self.phase.and_then(|phase| self.phases.get_mut(phase)) else { return };
        let counts = if event == Event::Wait { &mut phase.wait } else { &mut phase.work };
        let Some(count) = counts.get_mut(core) else { return };
        *count += 1;
        if core == 0 && (event == Event::Fork || (self.joining && event == Event::Work)) {
            self.meet();
        }
        if core == 0 {
            self.joining = event == Event::Wait;
        }
        if event != Event::Wait
            && let Some(since) = self.since.get_mut(core)
        {
            *since += 1;
        }
    }

    /// Both cores are at the same point: a fork, a join, the end of a phase.
    fn meet(&mut self) {
        let longest = self.since.iter().copied().max().unwrap_or(0);
        if let Some(phase) = self.phase.and_then(|phase| self.phases.get_mut(phase)) {
            phase.span += longest;
        }
        self.since = [0; CORES];
        self.joining = false;
    }

    /// A line for each phase.
    pub fn to_text(&self) -> String {
        let line = |(number, phase): (usize, &Phase)| {
            let Phase { work: [a, b], wait: [wait_a, wait_b], span } = phase;
            format!("{} {a} {wait_a} {b} {wait_b} {span}\n", number + 1)
        };
        self.phases.iter().enumerate().map(line).collect()
    }
}
