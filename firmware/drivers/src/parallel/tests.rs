//! Synthetic frames, whole and broken, cut into pieces at random.

use super::*;
use ocelli::image::PixelFormat;
use ocelli_app::camera::{Camera, CameraError, Fault};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::vec;
use std::vec::Vec;

/// What happens on the bus; each byte of a line tells its frame, line and place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Bus {
    Vsync,
    Bytes(Vec<u8>),
    LineEnd,
}

const LINE: Line =
    Line { bus_bytes: 12, bus_lines: 5, first_byte: 3, first_line: 1, bytes: 8, lines: 3, order: ByteOrder::AsIs };

fn byte(frame: u32, line: u32, at: u32) -> u8 {
    (frame * 89 + line * 17 + at) as u8
}

/// The picture's row as it should come out.
fn expected(frame: u32, row: u32, order: ByteOrder) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..LINE.bytes).map(|at| byte(frame, row + LINE.first_line, at + LINE.first_byte)).collect();
    if order == ByteOrder::Swapped {
        bytes.chunks_mut(2).for_each(|pair| pair.swap(0, 1));
    }
    bytes
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// This line lacks its last bytes.
    Short(u32, u32),
    /// This line has so many more.
    Long(u32, u32),
    /// It ends after so many lines.
    Lines(u32),
    /// It begins without VSYNC.
    NoVsync,
}

fn wrong() -> impl Strategy<Value = Wrong> {
    let (line, bytes) = (0..LINE.bus_lines, 1..LINE.bus_bytes);
    prop_oneof![
        4 => Just(Wrong::Nothing),
        1 => (line.clone(), bytes.clone()).prop_map(|(line, less)| Wrong::Short(line, less)),
        1 => (line, bytes).prop_map(|(line, more)| Wrong::Long(line, more)),
        1 => (1..LINE.bus_lines).prop_map(Wrong::Lines),
        1 => Just(Wrong::NoVsync),
    ]
}

/// The events of frames, each line cut after `cut` bytes.
fn frames(wrongs: &[Wrong], cut: usize) -> Vec<Bus> {
    let mut bus = vec![];
    for (frame, &wrong) in (0..).zip(wrongs) {
        if wrong != Wrong::NoVsync {
            bus.push(Bus::Vsync);
        }
        let lines = if let Wrong::Lines(lines) = wrong { lines } else { LINE.bus_lines };
        for line in 0..lines {
            let len = match wrong {
                Wrong::Short(at, less) if at == line => LINE.bus_bytes - less,
                Wrong::Long(at, more) if at == line => LINE.bus_bytes + more,
                _ => LINE.bus_bytes,
            };
            let bytes: Vec<u8> = (0..len).map(|at| byte(frame, line, at)).collect();
            bus.extend(bytes.chunks(cut).map(|piece| Bus::Bytes(piece.to_vec())));
            bus.push(Bus::LineEnd);
        }
    }
    bus
}

/// Outputs with the rows' bytes.
fn run(line: Line, bus: &[Bus]) -> Vec<(Output, Vec<u8>)> {
    let mut row = [0; 64];
    let mut rows = RowAssembler::new(line, &mut row).unwrap();
    let mut outputs = vec![];
    for event in bus {
        let output = match event {
            Bus::Vsync => rows.vsync(),
            Bus::LineEnd => rows.line_end(),
            Bus::Bytes(bytes) => {
                rows.bytes(bytes);
                None
            }
        };
        if let Some(output) = output {
            let bytes = if matches!(output, Output::Row { .. }) { rows.row().to_vec() } else { vec![] };
            outputs.push((output, bytes));
        }
    }
    outputs
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn whole_frames_come_out_whole_and_no_other_row_does(
        mut wrongs in prop::collection::vec(wrong(), 1..12), cut in 1..20_usize, swapped: bool,
    ) {
        if wrongs[0] == Wrong::NoVsync {
            wrongs[0] = Wrong::Nothing;
        }
        let order = if swapped { ByteOrder::Swapped } else { ByteOrder::AsIs };
        let outputs = run(Line { order, ..LINE }, &frames(&wrongs, cut));
        // frames that a VSYNC began, and what is known to be wrong with them
        let mut next = outputs.iter().peekable();
        for (frame, &wrong) in (0..).zip(&wrongs) {
            if wrong == Wrong::NoVsync {
                continue; // its lines are extra to the frame before, or nobody waits for them
            }
            // The VSYNC of a frame after one with too few lines is reported as that frame's fault.
            let start = next.next().unwrap().0;
            let missing = frame > 0 && matches!(wrongs[frame as usize - 1], Wrong::Lines(_));
            if !missing {
                prop_assert_eq!(start, Output::FrameStart);
            } else if let Wrong::Lines(found) = wrongs[frame as usize - 1] {
                prop_assert_eq!(start, Output::Broken(RowFault::MissingLines { found }));
            }
            let bad_line = match wrong {
                Wrong::Short(line, _) | Wrong::Long(line, _) | Wrong::Lines(line) => line,
                _ => LINE.bus_lines,
            };
            for row in 0..LINE.lines {
                if row + LINE.first_line < bad_line {
                    let (output, bytes) = next.next().unwrap();
                    prop_assert_eq!(*output, Output::Row { number: row });
                    prop_assert_eq!(bytes, &expected(frame, row, order));
                }
            }
            match wrong {
                Wrong::Short(line, less) => {
                    let found = LINE.bus_bytes - less;
                    prop_assert_eq!(next.next().unwrap().0, Output::Broken(RowFault::ShortLine { line, found }));
                }
                Wrong::Long(line, more) => {
                    let found = LINE.bus_bytes + more;
                    prop_assert_eq!(next.next().unwrap().0, Output::Broken(RowFault::LongLine { line, found }));
                }
                Wrong::Nothing if wrongs.get(frame as usize + 1) == Some(&Wrong::NoVsync) => {
                    prop_assert_eq!(next.next().unwrap().0, Output::Broken(RowFault::ExtraLine));
                }
                Wrong::Lines(_) if wrongs.get(frame as usize + 1) == Some(&Wrong::NoVsync) => {
                    return Ok(()); // two halves of frames without a sign between them: nobody can tell
                }
                _ => {}
            }
        }
        prop_assert_eq!(next.next(), None);
    }

    /// The same frames as samples of a port, in blocks of any length.
    #[test]
    fn samples_of_a_port_give_the_same(
        wrongs in prop::collection::vec(wrong(), 1..6), block in 1..50_usize, blank in 0..4_usize,
    ) {
        let bus = frames(&wrongs, 5);
        let mut samples = vec![0_u16; 2];
        for (event, next) in bus.iter().zip(bus.iter().skip(1).chain([&Bus::Vsync])) {
            match event {
                Bus::Vsync => samples.extend([0x4000; 3]),
                Bus::Bytes(bytes) => samples.extend(bytes.iter().map(|&byte| 0x2000 | (u16::from(byte) << 2))),
                // VSYNC may rise in the very sample in which HREF falls
                Bus::LineEnd => samples.extend(vec![0x03fc; blank.max(usize::from(*next != Bus::Vsync))]),
            }
        }
        samples.push(0);
        let mut row = [0; 64];
        let mut rows = RowAssembler::new(LINE, &mut row).unwrap();
        let mut port = PortSamples::new(14, 13, 2).unwrap();
        let mut outputs = vec![];
        for mut block in samples.chunks(block) {
            loop {
                let (taken, output) = port.feed(block, &mut rows);
                block = &block[taken..];
                let Some(output) = output else { break };
                let bytes = if matches!(output, Output::Row { .. }) { rows.row().to_vec() } else { vec![] };
                outputs.push((output, bytes));
            }
        }
        prop_assert_eq!(outputs, run(LINE, &bus));
    }
}

#[test]
fn href_may_fall_in_the_sample_in_which_vsync_rises() {
    let mut row = [0; 2];
    let mut rows = RowAssembler::new(Line::whole(2, 1, ByteOrder::AsIs), &mut row).unwrap();
    let mut port = PortSamples::new(14, 13, 0).unwrap();
    let samples = [0x4000, 0x2011, 0x2022, 0x4000, 0];
    assert_eq!(port.feed(&samples, &mut rows), (0, Some(Output::FrameStart)));
    assert_eq!(port.feed(&samples, &mut rows), (3, Some(Output::Row { number: 0 })));
    assert_eq!(rows.row(), [0x11, 0x22]);
    assert_eq!(port.feed(&samples[3..], &mut rows), (0, Some(Output::FrameStart)));
    assert_eq!(port.feed(&samples[3..], &mut rows), (2, None));
}

#[test]
fn a_single_line_more_is_a_fault_and_nothing_after_it_is_taken() {
    let mut bus = frames(&[Wrong::Nothing], 20);
    let line = bus[1..3].to_vec();
    for _ in 0..2 {
        bus.extend(line.clone());
        let outputs = run(LINE, &bus);
        assert_eq!(outputs.len(), 1 + 3 + 1);
        assert_eq!(outputs[4].0, Output::Broken(RowFault::ExtraLine));
    }
}

#[test]
fn lines_that_cannot_be_are_refused() {
    let new = |line: Line, len: usize| RowAssembler::new(line, &mut vec![0; len]).is_some();
    assert!(new(LINE, 8) && new(LINE, 9));
    assert!(!new(LINE, 7), "the row memory is too short");
    assert!(!new(Line { first_byte: 5, ..LINE }, 8), "the picture is not in the line");
    assert!(!new(Line { first_line: u32::MAX, ..LINE }, 8));
    assert!(!new(Line { bytes: 0, ..LINE }, 8));
    assert!(!new(Line { bytes: 7, order: ByteOrder::Swapped, ..LINE }, 8), "half a pair");
    for (vsync, href, data) in [(16, 1, 8), (0, 0, 8), (0, 1, 9), (3, 12, 0), (12, 3, 0)] {
        assert!(PortSamples::new(vsync, href, data).is_none(), "{vsync} {href} {data}");
    }
}

/// A bus that plays events, and fails where there is `None`.
struct Played(VecDeque<Option<Bus>>, Vec<u8>);

impl BusSource for Played {
    type Error = Fault;

    fn next(&mut self) -> Result<BusEvent<'_>, Fault> {
        match self.0.pop_front().ok_or(Fault::SyncLost)?.ok_or(Fault::Bus)? {
            Bus::Vsync => Ok(BusEvent::Vsync),
            Bus::LineEnd => Ok(BusEvent::LineEnd),
            Bus::Bytes(bytes) => {
                self.1 = bytes;
                Ok(BusEvent::Bytes(&self.1))
            }
        }
    }
}

#[test]
fn a_camera_drops_broken_frames_and_takes_the_next_whole_one() {
    let wrongs = [Wrong::Short(3, 1), Wrong::Nothing, Wrong::Lines(2), Wrong::Nothing, Wrong::Nothing, Wrong::NoVsync];
    let mut events: Vec<Option<Bus>> = frames(&wrongs, 7).into_iter().map(Some).collect();
    // the bus fails in the fifth frame
    let fifth = events.iter().enumerate().filter(|(_, event)| **event == Some(Bus::Vsync)).nth(4).unwrap().0;
    events.insert(fifth + 4, None);
    events.extend(frames(&[Wrong::Nothing], 7).into_iter().map(Some));
    let mut row = [0; 8];
    let rows = RowAssembler::new(LINE, &mut row).unwrap();
    let mut camera = ParallelCamera::new(Played(events.into(), vec![]), rows, PixelFormat::Gray8, 8).unwrap();
    assert_eq!((camera.size(), camera.format()), ([8, 3], PixelFormat::Gray8));
    let mut frame = || -> Result<Vec<u8>, ParallelError<Fault>> {
        camera.begin_frame()?;
        let mut pixels = vec![];
        for _ in 0..3 {
            let mut row = [0; 8];
            camera.next_row(&mut row)?;
            pixels.extend(row);
        }
        Ok(pixels)
    };
    let whole = |frame: u32| Ok((0..3).flat_map(|row| expected(frame, row, ByteOrder::AsIs)).collect::<Vec<_>>());
    assert_eq!(frame(), Err(ParallelError::Frame(RowFault::ShortLine { line: 3, found: 11 })));
    assert_eq!(frame(), whole(1));
    assert_eq!(frame(), Err(ParallelError::Frame(RowFault::MissingLines { found: 2 })));
    assert_eq!(frame(), whole(3), "the VSYNC that showed the fault is not lost");
    assert_eq!(frame(), Err(ParallelError::Bus(Fault::Bus)));
    assert_eq!(frame(), whole(0), "the frame after the one that the bus lost and one without VSYNC");
    let error = frame().unwrap_err();
    assert_eq!((error, error.fault()), (ParallelError::Bus(Fault::SyncLost), Fault::SyncLost));
    assert_eq!(ParallelError::<Fault>::Frame(RowFault::ExtraLine).fault(), Fault::LostFrame);
}

#[test]
fn a_camera_of_another_width_than_its_rows_is_refused() {
    let mut row = [0; 8];
    let rows = RowAssembler::new(LINE, &mut row).unwrap();
    assert!(ParallelCamera::new(Played(VecDeque::new(), vec![]), rows, PixelFormat::Rgb565, 8).is_none());
}
