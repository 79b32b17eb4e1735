//! The reading thread: opens the camera, reads frames, and when something fails says so, waits, and tries again.

use super::mailbox::{Mailbox, Report};
use super::{Camera, Source, SourceError};
use crate::backoff::Backoff;
use std::time::Instant;

/// Damaged frames in a row after which the camera is opened again.
const MOST_CORRUPT: u32 = 50;

/// Reads frames into the mailbox until there are no more, or nobody takes them.
pub fn capture(camera: &mut dyn Camera, mailbox: &Mailbox, backoff: Backoff) {
    let mut reader = Reader { mailbox, backoff, is_troubled: false, not_before: None, corrupt: 0 };
    let mut source: Option<Box<dyn Source>> = None;
    while !mailbox.is_closed() {
        let Some(open) = &mut source else {
            match camera.open() {
                Ok(opened) => source = Some(opened),
                Err(SourceError::End) => return mailbox.end(None),
                Err(SourceError::Fatal(error)) => return mailbox.end(Some(error)),
                Err(error) => reader.trouble(&camera.name(), &error),
            }
            continue;
        };
        let mut frame = mailbox.spare();
        match open.read(&mut frame) {
            Ok(()) => {
                reader.arrived(&camera.name());
                mailbox.put(frame);
                continue;
            }
            Err(SourceError::End) => return mailbox.end(None),
            Err(SourceError::Fatal(error)) => return mailbox.end(Some(error)),
            Err(SourceError::Corrupt(what)) => {
                mailbox.report(Report::Corrupt(format!("{}: {what}; it is left out", camera.name())));
                reader.corrupt += 1;
                if camera.reopens() && reader.corrupt >= MOST_CORRUPT {
                    source = None; // before the wait: a device must be free to be opened again
                    reader.trouble(&camera.name(), &"nothing but damaged frames: opens it again");
                }
            }
            Err(error @ SourceError::Stalled(_)) if !camera.reopens() => reader.stalled(&camera.name(), &error),
            Err(error) => {
                source = None;
                reader.trouble(&camera.name(), &error);
            }
        }
        mailbox.recycle(frame);
    }
}

struct Reader<'m> {
    mailbox: &'m Mailbox,
    backoff: Backoff,
    is_troubled: bool,
    /// When it may be said again that nothing comes.
    not_before: Option<Instant>,
    /// Damaged frames in a row.
    corrupt: u32,
}

impl Reader<'_> {
    /// Says what is wrong, and waits.
    fn trouble(&mut self, name: &str, error: &dyn std::fmt::Display) {
        let wait = self.backoff.wait();
        self.is_troubled = true;
        self.corrupt = 0;
        let seconds = wait.as_secs_f64();
        self.mailbox.report(Report::Trouble(format!("{name}: {error}; the next try is in {seconds} s")));
        self.mailbox.sleep(wait);
    }

    /// Says that nothing comes, more and more rarely. The source goes on being read: what comes now must not wait.
    fn stalled(&mut self, name: &str, error: &dyn std::fmt::Display) {
        self.is_troubled = true;
        self.corrupt = 0;
        let now = Instant::now();
        if self.not_before.is_none_or(|time| now >= time) {
            self.not_before = Some(now + self.backoff.wait());
            self.mailbox.report(Report::Trouble(format!("{name}: {error}; it is waited for")));
        }
    }

    fn arrived(&mut self, name: &str) {
        self.corrupt = 0;
        self.not_before = None;
        self.backoff.reset();
        if std::mem::take(&mut self.is_troubled) {
            self.mailbox.report(Report::Recovered(format!("{name}: frames arrive again")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::mailbox::Arrival;
    use super::*;
    use crate::frame::Frame;
    use std::collections::VecDeque;
    use std::time::Duration;

    type Step = Result<&'static str, SourceError>;

    /// Plays what happens between one opening and the next.
    struct Played(VecDeque<Step>);

    impl Source for Played {
        fn read(&mut self, frame: &mut Frame) -> Result<(), SourceError> {
            frame.name = self.0.pop_front().unwrap_or(Err(SourceError::End))?.to_owned();
            Ok(())
        }
    }

    struct Fake {
        openings: VecDeque<Result<Vec<Step>, SourceError>>,
        reopens: bool,
    }

    impl Camera for Fake {
        fn name(&self) -> String {
            "the camera".to_owned()
        }

        fn open(&mut self) -> Result<Box<dyn Source>, SourceError> {
            let steps = self.openings.pop_front().unwrap_or(Err(SourceError::End))?;
            Ok(Box::new(Played(steps.into())))
        }

        fn is_live(&self) -> bool {
            false
        }

        fn reopens(&self) -> bool {
            self.reopens
        }
    }

    /// Everything that arrives, in words.
    fn play(openings: Vec<Result<Vec<Step>, SourceError>>, reopens: bool) -> Vec<String> {
        play_with(openings, reopens, Backoff::new(Duration::from_millis(1), Duration::from_millis(4)))
    }

    fn play_with(openings: Vec<Result<Vec<Step>, SourceError>>, reopens: bool, backoff: Backoff) -> Vec<String> {
        let mailbox = Mailbox::new(false);
        let mut camera = Fake { openings: openings.into(), reopens };
        std::thread::scope(|scope| {
            scope.spawn(|| capture(&mut camera, &mailbox, backoff));
            let mut seen = Vec::new();
            loop {
                seen.push(match mailbox.take(Duration::from_secs(60)) {
                    Arrival::Frame(frame) => frame.name,
                    Arrival::Report(Report::Trouble(text)) => text.split(';').next().unwrap_or_default().to_owned(),
                    Arrival::Report(Report::Corrupt(text)) => text,
                    Arrival::Report(Report::Recovered(text)) => text,
                    Arrival::Ended(error) => {
                        seen.extend(error);
                        return seen;
                    }
                    Arrival::Nothing => panic!("nothing arrives"),
                });
            }
        })
    }

    fn lost(what: &str) -> SourceError {
        SourceError::Lost(what.to_owned())
    }

    #[test]
    fn an_unplugged_camera_is_opened_again_until_it_is_back() {
        let gone = || Err(lost("no such device"));
        let seen =
            play(vec![Ok(vec![Ok("1"), Err(lost("unplugged"))]), gone(), gone(), Ok(vec![Ok("2"), Ok("3")])], true);
        let expected = [
            "1",
            "the camera: unplugged",
            "the camera: no such device",
            "the camera: no such device",
            "the camera: frames arrive again",
            "2",
            "3",
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_corrupt_frame_is_left_out() {
        let corrupt = Err(SourceError::Corrupt("cut off".to_owned()));
        let seen = play(vec![Ok(vec![Ok("1"), corrupt, Ok("2")])], true);
        assert_eq!(seen, ["1", "the camera: cut off; it is left out", "2"]);
    }

    #[test]
    fn nothing_but_corrupt_frames_opens_it_again() {
        let corrupt = || Err(SourceError::Corrupt("cut off".to_owned()));
        let seen = play(vec![Ok((0..MOST_CORRUPT).map(|_| corrupt()).collect()), Ok(vec![Ok("1")])], true);
        assert!(seen.iter().any(|text| text.contains("nothing but damaged frames")), "{seen:?}");
        assert_eq!(seen.last().map(String::as_str), Some("1"));
    }

    #[test]
    fn a_stalled_pipe_is_waited_for_and_a_stalled_camera_opened_again() {
        let stalled = || Err(SourceError::Stalled("nothing for 2 s".to_owned()));
        // with an hour between one try and the next: a pipe has no tries, and it is said once
        let hour = Backoff::new(Duration::from_secs(3600), Duration::from_secs(3600));
        let seen = play_with(vec![Ok(vec![stalled(), stalled(), Ok("1")])], false, hour);
        assert_eq!(seen, ["the camera: nothing for 2 s", "the camera: frames arrive again", "1"]);
        let seen = play(vec![Ok(vec![stalled(), Ok("never")]), Ok(vec![Ok("1")])], true);
        assert_eq!(seen, ["the camera: nothing for 2 s", "the camera: frames arrive again", "1"]);
    }

    #[test]
    fn what_cannot_be_helped_ends_it() {
        let seen = play(vec![Err(SourceError::Fatal("no pictures in it".to_owned()))], true);
        assert_eq!(seen, ["no pictures in it"]);
    }
}
