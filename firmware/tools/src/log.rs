//! Decodes what the firmware logged with defmt.

use anyhow::{Context, Result};
use defmt_decoder::{DecodeError, Table};

/// The log's lines: level and text. A frame that cannot be decoded becomes a line that says so.
pub fn decode(elf: &[u8], log: &[u8]) -> Result<Vec<String>> {
    let table = Table::parse(elf)?.context("the firmware's ELF file has no .defmt section")?;
    let mut decoder = table.new_stream_decoder();
    decoder.received(log);
    let mut lines = Vec::new();
    loop {
        match decoder.decode() {
            Ok(frame) => {
                let level = frame.level().map_or("print", |level| level.as_str());
                lines.push(format!("{level}: {}", frame.display_message()));
            }
            Err(DecodeError::UnexpectedEof) => return Ok(lines),
            Err(DecodeError::Malformed) => {
                lines.push("(a damaged log frame)".into());
                if !table.encoding().can_recover() {
                    return Ok(lines);
                }
            }
        }
    }
}
