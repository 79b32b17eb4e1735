//! The thread that draws: the live view's JPEGs while somebody looks, and the screens. It takes the newest frame; classifying never waits.

use crate::backoff::{Backoff, Retry};
use crate::jpeg::{VIEW_QUALITY, encode};
use crate::live::Live;
use crate::screen::Overlay;
use bytes::Bytes;
use std::time::{Duration, Instant};

/// A screen and how often it is drawn.
pub struct Screen {
    overlay: Overlay,
    every: Duration,
    next: Option<Instant>,
    retry: Retry,
}

impl Screen {
    /// A screen that is drawn at most once in `every`; `what` names it in messages.
    #[must_use]
    pub fn new(overlay: Overlay, every: Duration, what: impl Into<String>) -> Self {
        Self { overlay, every, next: None, retry: Retry::new(what, Backoff::default()) }
    }
}

/// Draws until the run ends. At most one frame in `every` is drawn, and one a second when it is the same still. Failures are said to `say`.
pub fn paint(live: &Live, screens: &mut [Screen], every: Duration, say: &dyn Fn(String)) {
    let mut seen = 0;
    while !live.is_closed() {
        let Some((number, frame, caption)) = live.next(seen, Duration::from_secs(1)) else { continue };
        let start = Instant::now();
        seen = number;
        if live.has_viewers()
            && let Ok(jpeg) = encode(&frame, VIEW_QUALITY)
        {
            live.show(Bytes::from(jpeg));
        }
        for screen in &mut *screens {
            if screen.next.is_some_and(|time| start < time) {
                continue;
            }
            screen.next = Some(start + screen.every);
            let overlay = &mut screen.overlay;
            if let Some(said) = screen.retry.attempt(start, || overlay.show(&frame, &caption)) {
                say(said);
            }
        }
        drop(frame);
        std::thread::sleep(every.saturating_sub(start.elapsed()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jpeg::tests::colourful;
    use crate::live::Caption;
    use crate::screen::{Canvas, Display};
    use std::io;
    use std::sync::Mutex;

    /// A display that is full at first.
    struct Fake<'f>(&'f Mutex<u32>);

    impl Display for Fake<'_> {
        fn size(&self) -> [u32; 2] {
            [64, 64]
        }

        fn show(&mut self, _: &Canvas) -> io::Result<()> {
            let mut count = self.0.lock().unwrap();
            *count += 1;
            if *count == 1 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }

    #[test]
    fn a_screen_that_fails_is_said_and_the_view_goes_on() {
        static SHOWN: Mutex<u32> = Mutex::new(0);
        let (live, said) = (Live::default(), Mutex::new(Vec::new()));
        let mut screens = [Screen::new(Overlay::new(Box::new(Fake(&SHOWN))), Duration::ZERO, "the screen")];
        let mut view = live.view();
        std::thread::scope(|scope| {
            scope.spawn(|| paint(&live, &mut screens, Duration::ZERO, &|text| said.lock().unwrap().push(text)));
            for _ in 0..2 {
                live.put(colourful(32, 32), Caption::default());
                while !view.has_changed().unwrap() {
                    std::thread::yield_now();
                }
                assert!(view.borrow_and_update().starts_with(&[0xff, 0xd8]));
            }
            live.close();
        });
        let said = said.into_inner().unwrap();
        assert!(said.len() == 1 && said[0].starts_with("the screen: "), "{said:?}");
    }
}
