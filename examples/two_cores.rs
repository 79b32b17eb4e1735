//! Two cores share the rows of a picture: `cargo run --release -p ocelli-board --example two_cores`.
//!
//! The second core waits at a mailbox; every step of a convolution is divided between the two. Here it is a thread; on a Pico 2 it is core 1
//! (`firmware/boards/rp/src/second_core.rs`), with the same mailbox. The outputs are the same bytes as one core's. How much faster two cores
//! of a chip are: `cargo xtask bench device --model models/resnet8/model.ocelli --board qemu-m33-duo`.
//!
//! The model was compiled for two: `ocelli compile models/mnist-cnn --board qemu-m33-duo` gives it scratch memory for each.
#![allow(unsafe_code, reason = "a mailbox has one thread on each side, which no type can say")]

use ocelli::model::Aligned;
use ocelli::runtime::{Arena, Session};
use ocelli::team::{Solo, Team};
use ocelli_board::mailbox::Mailbox;
use std::error::Error;
use std::thread;

const FILE: &[u8] = include_bytes!("models/mnist-cnn-two-cores.ocelli");
static MODEL: Aligned<[u8; FILE.len()]> = Aligned(*include_bytes!("models/mnist-cnn-two-cores.ocelli"));
static PICTURE: &[u8; 28 * 28] = include_bytes!("pictures/seven.gray");
static MAILBOX: Mailbox = Mailbox::new();

fn main() -> Result<(), Box<dyn Error>> {
    // SAFETY: this thread alone serves the mailbox.
    thread::spawn(|| unsafe { MAILBOX.serve() });
    // SAFETY: the thread above serves it, and there is no other team.
    let mut duo = Counted { team: unsafe { MAILBOX.team() }, steps: 0 };

    let (alone, together) = (classify(&mut Solo)?, classify(&mut duo)?);
    assert_eq!(alone, together, "the same bytes");
    println!("{} steps were shared; scores {together:?}", duo.steps);
    Ok(())
}

/// The scores of the picture.
fn classify(team: &mut impl Team) -> Result<Vec<i8>, Box<dyn Error>> {
    let mut arena = Arena::<16384>::new();
    let mut session = Session::load(&MODEL.0, arena.bytes_mut())?;
    let lut = session.model().pixel_lut();
    for pixels in PICTURE.chunks_exact(28) {
        let fill = |values: &mut [i8]| {
            // the file says which int8 value each of the 256 pixel values becomes
            values.iter_mut().zip(pixels).for_each(|(value, &pixel)| *value = lut[usize::from(pixel)]);
        };
        session.push_row_with(team, fill, |_| {});
    }
    Ok(session.output().to_vec())
}

/// A team that counts the steps it shares.
struct Counted<T> {
    team: T,
    steps: u32,
}

impl<T: Team> Team for Counted<T> {
    const CORES: usize = T::CORES;

    fn join(&mut self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
        self.steps += 1;
        self.team.join(a, b);
    }
}
