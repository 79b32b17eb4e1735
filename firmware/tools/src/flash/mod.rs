//! Puts a firmware on a board: the image as ELF, BIN, UF2 and Intel HEX, and the ways to write it there.
//!
//! A board with a boot drive gets its UF2 file copied ([`drive`]); the others are written by a program that knows their debug
//! probes or serial loaders ([`program`]). What is run here is tested against folders that look like boot drives and against programs that
//! take note of how they are called; no chip has been written by it yet.

pub mod drive;
pub mod files;
pub mod hex;
pub mod image;
pub mod mounts;
pub mod onto;
pub mod program;
pub mod uf2;

pub use drive::{Copied, Drive, DriveError};
pub use files::{WriteError, Written, check_folder, write};
pub use image::{FlashImage, ImageError};
pub use onto::{FlashError, Flashed, Way, flash, watch, way};
pub use program::{ProgramError, Programs};
