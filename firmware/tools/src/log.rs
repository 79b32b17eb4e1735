//! What the firmware logged: defmt's frames, or plain text of a program without defmt.

/// The log's lines: of a program with defmt, level and text of each frame.
pub fn lines(elf: &[u8], log: &[u8]) -> Vec<String> {
    // a program may have defmt linked and yet write text; defmt's frames end with a zero
    #[cfg(feature = "log")]
    match if log.contains(&0) { frames(elf, log) } else { Ok(None) } {
        Ok(Some(lines)) => return lines,
        Ok(None) => {}
        Err(error) => return vec![format!("(the log cannot be decoded: {error:#})")],
    }
    #[cfg(not(feature = "log"))]
    let _ = elf;
    String::from_utf8_lossy(log).lines().map(str::to_owned).collect()
}

/// Decodes defmt's frames; `None` when the program has no defmt. A frame that cannot be decoded becomes a line that says so.
#[cfg(feature = "log")]
fn frames(elf: &[u8], log: &[u8]) -> anyhow::Result<Option<Vec<String>>> {
    use defmt_decoder::{DecodeError, Table};

    let Some(table) = Table::parse(elf)? else { return Ok(None) };
    let mut decoder = table.new_stream_decoder();
    decoder.received(log);
    let mut lines = Vec::new();
    loop {
        match decoder.decode() {
            Ok(frame) => {
                let level = frame.level().map_or("print", |level| level.as_str());
                lines.push(format!("{level}: {}", frame.display_message()));
            }
            Err(DecodeError::UnexpectedEof) => return Ok(Some(lines)),
            Err(DecodeError::Malformed) => {
                lines.push("(a damaged log frame)".into());
                if !table.encoding().can_recover() {
                    return Ok(Some(lines));
                }
            }
        }
    }
}
