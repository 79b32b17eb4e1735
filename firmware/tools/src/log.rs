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

/// Follows a log that grows.
#[derive(Debug, Default)]
pub struct Follower {
    /// Lines that were given out.
    seen: usize,
}

impl Follower {
    /// The lines that have come since the last call. What is not complete yet waits, until the program `has_ended`.
    pub fn more(&mut self, elf: &[u8], log: &[u8], has_ended: bool) -> Vec<String> {
        // A frame of defmt's ends with a zero, and it has no other; text has none.
        let end = if has_ended { Some(log.len()) } else { log.iter().rposition(|&byte| byte == 0).map(|at| at + 1) };
        let complete = log.get(..end.unwrap_or(0)).unwrap_or(&[]);
        if complete.is_empty() {
            return Vec::new();
        }
        let mut lines = lines(elf, complete);
        let new = lines.split_off(self.seen.min(lines.len()));
        self.seen += new.len();
        new
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_when_the_program_has_ended_and_once() {
        let mut follower = Follower::default();
        assert_eq!(follower.more(b"", b"one\ntwo", false), [] as [&str; 0]);
        assert_eq!(follower.more(b"", b"one\ntwo\nthree", true), ["one", "two", "three"]);
        assert_eq!(follower.more(b"", b"one\ntwo\nthree", true), [] as [&str; 0]);
    }
}
