//! The second core of the SSE-200 (Arm, "CoreLink SSE-200 Subsystem Technical Reference Manual"), which shares the steps of a session.
//!
//! It is held at reset until the first core lets it go. Then it sleeps, runs what [`SecondCore::join`](Team::join) posts, and sleeps again.
//!
//! **It must never log and never enter a critical section**: those of this program only mask the interrupts of the core that asks,
//! which is not sound with two cores. What it runs comes from `join` alone: kernels, which do neither.

use core::arch::global_asm;
use ocelli::team::Team;
use ocelli_board::mailbox::{Duo, Mailbox};

/// The secure registers of the system control block.
const SYSTEM_CONTROL: usize = 0x5002_1000;
/// Where the second core finds its vectors when it leaves reset.
const INITSVTOR1: *mut u32 = (SYSTEM_CONTROL + 0x114) as *mut u32;
/// A bit for each core that is held at reset.
const CPUWAIT: *mut u32 = (SYSTEM_CONTROL + 0x118) as *mut u32;

/// Words of the second core's stack, 2 KB.
const STACK_WORDS: usize = 512;
/// What the unused stack is painted with.
const PAINT: u32 = 0xCCCC_CCCC;

/// What the second core has for itself.
#[repr(C, align(128))] // as a vector table must be
pub struct Memory {
    vectors: [usize; 16],
    stack: [u32; STACK_WORDS],
}

impl Memory {
    /// Not yet used.
    pub const fn new() -> Self {
        Self { vectors: [0; 16], stack: [0; STACK_WORDS] }
    }
}

/// Where the first core posts what the second one runs.
static MAILBOX: Mailbox = Mailbox::new();

unsafe extern "C" {
    // Both are only addresses here, and neither is called: the second core's first instruction, and the exception below.
    fn ocelli_second_core_entry();
    fn HardFault();
}

// The target's compiler may use the floating-point registers for anything: they are switched on first.
global_asm!(
    ".section .text.ocelli_second_core_entry, \"ax\"",
    ".global ocelli_second_core_entry",
    ".type ocelli_second_core_entry,%function",
    ".thumb_func",
    "ocelli_second_core_entry:",
    "ldr r0, =0xE000ED88", // CPACR
    "ldr r1, [r0]",
    "orr r1, r1, #0xF00000",
    "str r1, [r0]",
    "dsb",
    "isb",
    "b {main}",
    ".ltorg",
    main = sym second_core_main,
);

/// The running second core: half of a team of two.
pub struct SecondCore {
    duo: Duo,
    stack: *const [u32; STACK_WORDS],
}

impl SecondCore {
    /// Lets the second core go.
    pub fn start(memory: &'static mut Memory) -> Self {
        memory.stack.fill(PAINT);
        let top = memory.stack.as_ptr_range().end.addr();
        memory.vectors = [HardFault as *const () as usize; 16];
        memory.vectors[0] = top;
        memory.vectors[1] = ocelli_second_core_entry as *const () as usize;
        let stack = &raw const memory.stack;
        let vectors = memory.vectors.as_ptr().addr() as u32; // addresses have 32 bits here
        cortex_m::asm::dsb(); // the vectors must be in memory
        // SAFETY: registers that nothing else uses. The second core starts in a table of its own, whose stack is memory that
        // nothing else has: `memory` came as the only reference to it, for ever.
        unsafe {
            INITSVTOR1.write_volatile(vectors);
            CPUWAIT.write_volatile(0);
        }
        // SAFETY: the second core serves the mailbox from now on, and `memory`, of which there is one, says that this is the only team.
        Self { duo: unsafe { MAILBOX.team() }, stack }
    }

    /// Bytes of its stack that the second core has used; `None` when that is all of it.
    pub fn deepest_stack_bytes(&self) -> Option<u32> {
        let words = self.stack.cast::<u32>();
        // SAFETY: the index stays inside the stack. The other core sleeps while nothing is posted, and a word that is no longer
        // painted counts whatever it holds.
        let unused = (0..STACK_WORDS).take_while(|&at| unsafe { words.add(at).read_volatile() } == PAINT).count();
        u32::try_from(4 * (STACK_WORDS - unused)).ok().filter(|_| unused > 0)
    }
}

impl Team for SecondCore {
    const CORES: usize = 2;

    fn join(&mut self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
        self.duo.join(a, b);
    }
}

/// What the second core does.
extern "C" fn second_core_main() -> ! {
    // SAFETY: only the second core comes here, once.
    unsafe { MAILBOX.serve() }
}
