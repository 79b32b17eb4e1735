//! The commands that bring a model onto a board: `boards`, `flash`, `run`, `push`. What needs the firmware's toolchain or QEMU says so where
//! they are missing, and passes, unless `OCELLI_REQUIRE_DEVICE` is set, as `cargo xtask ci` does.

use crate::commands::{done, json, ocelli, refused};
use crate::support::{device_toolchain, digits, repository, shipped_model};
use image::Luma;
use ocelli_firmware_tools::push::SecretKey;
use ocelli_firmware_tools::update::{self, Emulated};
use ocelli_firmware_tools::{Toolchain, find};
use ocelli_host::data::Split;
use ocelli_host::network::Network;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn mnist() -> String {
    text(&shipped_model())
}

/// A folder that looks like a boot drive.
fn drive(at: &Path, name: &str, model: &str, board_id: &str) -> String {
    let folder = at.join(name);
    fs::create_dir(&folder).unwrap();
    let info = format!("UF2 Bootloader v1.0\nModel: {model}\nBoard-ID: {board_id}\n");
    fs::write(folder.join("INFO_UF2.TXT"), info).unwrap();
    text(&folder)
}

#[test]
fn boards_are_listed_with_what_they_hold() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let table = done(&["boards"], at);
    let line = |name: &str| table.lines().find(|line| line.contains(&format!(" {name} "))).unwrap().to_owned();
    for part in ["two Cortex-M33F", "4,096 KB", "UF2 drive or debug probe", "never on hardware"] {
        assert!(line("pico2").contains(part), "{part}: {table}");
    }
    assert!(table.contains(
        "\npico takes other models by `ocelli push` when flashed with --updatable: over USB serial, of up to 512 KB"
    ));
    assert!(!table.contains("\nesp32-c3 takes"), "{table}");
    assert!(line("qemu-m4").contains("in QEMU") && !line("qemu-m4").contains("never"), "{table}");

    let boards = json(&["boards", "--json", "--model", &text(&repository("models/resnet8"))], at);
    let board = |name: &str| boards.as_array().unwrap().iter().find(|board| board["name"] == name).unwrap();
    assert_eq!((&board("pico")["holds_model"], &board("pico")["why_not"]), (&true.into(), &serde_json::Value::Null));
    assert_eq!(board("pico")["is_emulated"], false);
    assert_eq!(
        (&board("pico2")["updates_over"], &board("pico2")["slot_bytes"]),
        (&"USB serial".into(), &1_048_576.into())
    );
    assert_eq!(board("qemu-m4").get("updates_over"), None);
    // 16,000 bytes of working memory alone are almost all of its 16 KB
    let small = board("qemu-microbit");
    assert_eq!((&small["ram_bytes"], &small["holds_model"]), (&16_384.into(), &false.into()));
    assert!(small["why_not"].as_str().unwrap().contains("working memory 16000"), "{small}");
    let table = done(&["boards", "--model", &text(&repository("models/resnet8"))], at);
    assert!(table.contains("too large") && table.contains("qemu-microbit: the firmware needs"), "{table}");

    assert!(refused(&["boards", "--model", "nothing"], at).contains("there is no model file nothing"));
    fs::write(at.join("text"), "no model").unwrap();
    assert!(refused(&["boards", "--model", "text"], at).contains("text: "));
}

#[test]
fn what_cannot_be_flashed_is_known_before_anything_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let refusal = |arguments: &[&str]| refused(&[&["flash"], arguments].concat(), at);
    let (resnet, blocks) = (text(&repository("models/resnet8")), text(&repository("tests/golden/blocks-v2.ocelli")));
    let error = refusal(&["--board", "qemu-microbit", "--model", &resnet, "--build-only"]);
    assert!(
        error.contains("bytes of RAM (working memory 16000") && error.contains("qemu-microbit has 16384"),
        "{error}"
    );
    let error = refusal(&["--board", "pico2", "--model", &blocks]);
    assert!(error.contains("compiled for a PC") && error.contains("ocelli compile RUN --board pico2"), "{error}");
    assert!(refusal(&["--board", "arduino", "--model", &mnist()]).contains("no board is called `arduino`"));
    assert!(refusal(&["--board", "pico2", "--model", "nothing"]).contains("there is no model file nothing"));
    for flag in [["--updatable"].as_slice(), &["--key", "nothing"]] {
        let error = refusal(&[&["--board", "esp32-c3", "--model", &mnist(), "--build-only"], flag].concat());
        assert!(error.contains("esp32-c3 takes no models over a line; the boards that do: pico, pico2"), "{error}");
    }
    let error = refusal(&["--board", "pico", "--model", &mnist(), "--build-only", "--key", "nothing"]);
    assert!(error.contains("nothing: No such file"), "{error}");
    let error = refusal(&["--board", "qemu-m4", "--model", &mnist()]);
    assert!(error.contains("ocelli run --board qemu-m4"), "{error}");

    let (pico, plain) = (drive(at, "RPI-RP2", "Raspberry Pi RP2", "RPI-RP2"), text(at));
    let error = refusal(&["--board", "pico2", "--model", &mnist(), "--drive", &pico]);
    assert!(error.contains("is the boot drive of another board (Board-ID RPI-RP2"), "{error}");
    assert!(error.contains("note: the model was compiled for 1 core, pico2 has 2"), "{error}");
    let error = refusal(&["--board", "pico", "--model", &mnist(), "--drive", &plain]);
    assert!(error.contains(&format!("{plain} is no boot drive")), "{error}");
    let error = refusal(&["--board", "nrf52840-dk", "--model", &mnist(), "--drive", &pico]);
    assert!(error.contains("nrf52840-dk has no boot drive"), "{error}");
    let error = refusal(&["--board", "nrf52840-dk", "--model", &mnist(), "--port", "COM3"]);
    assert!(error.contains("nrf52840-dk is not flashed over a serial port here"), "{error}");
    let error = refusal(&["--board", "pico", "--model", &mnist(), "--every", "10s"]);
    assert!(error.contains("pico does not sleep between frames; of these it can: nrf52840-dk"), "{error}");
    let error = refusal(&["--board", "nrf52840-dk", "--model", &mnist(), "--every", "0"]);
    assert!(error.contains("0.001 to 4294967 seconds"), "{error}");
    assert_eq!(fs::read_dir(at).unwrap().count(), 1, "nothing was written but the drive of this test");
}

#[test]
fn the_images_of_a_firmware_hold_the_model() {
    if device_toolchain("qemu-m4").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let said = done(&["flash", "--board", "qemu-m4", "--model", &mnist(), "--build-only", "--out", "images"], at);
    assert!(said.contains("of 4,194,304 bytes of flash") && said.contains("36,764 model"), "{said}");
    let read = |extension: &str| fs::read(at.join(format!("images/qemu-m4.{extension}"))).unwrap();
    let (elf, bin, hex) = (read("elf"), read("bin"), String::from_utf8(read("hex")).unwrap());
    let model = fs::read(shipped_model().join("model.ocelli")).unwrap();
    let holds = |bytes: &[u8]| bytes.windows(model.len()).any(|window| window == model);
    assert!(holds(&elf) && holds(&bin));
    // the HEX file, read by its rules, is the flat image
    let (mut upper, mut flash) = (0, vec![0xFF_u8; bin.len()]);
    for line in hex.lines() {
        let digits = line.strip_prefix(':').unwrap();
        let bytes: Vec<u8> =
            (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect();
        assert_eq!(bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte)), 0, "{line}");
        let (data, at) = (&bytes[4..bytes.len() - 1], usize::from(bytes[1]) << 8 | usize::from(bytes[2]));
        match bytes[3] {
            0 => flash[upper + at..upper + at + data.len()].copy_from_slice(data),
            4 => upper = usize::from(data[0]) << 24 | usize::from(data[1]) << 16,
            _ => {}
        }
    }
    assert!(flash == bin, "HEX and BIN differ");
}

#[test]
fn a_uf2_file_lands_on_the_boards_drive() {
    let board = find("pico2").unwrap();
    if let Err(missing) = Toolchain::find(board.target) {
        assert!(std::env::var_os("OCELLI_REQUIRE_DEVICE").is_none(), "{missing}");
        eprintln!("not run: {missing}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let drive = drive(at, "RP2350", "Raspberry Pi RP2350", "RP2350");
    // a place that cannot be written is known before anything is compiled
    fs::write(at.join("file"), "").unwrap();
    let error = refused(&["flash", "--board", "pico2", "--model", &mnist(), "--drive", &drive, "--out", "file/x"], at);
    assert!(error.contains("cannot write file/x") && !error.contains("building"), "{error}");
    let said = done(&["flash", "--board", "pico2", "--model", &mnist(), "--drive", &drive], at);
    assert!(said.contains("copied to ") && said.contains("the board restarts with it"), "{said}");
    let uf2 = fs::read(at.join("firmware-pico2/pico2.uf2")).unwrap();
    assert_eq!(fs::read(Path::new(&drive).join("ocelli.uf2")).unwrap(), uf2);
    // behind the block for the boot ROM of the first chips (RP2350-E10) the blocks' payloads, one behind the other, are the flat image
    let (first, uf2) = uf2.split_at(512);
    assert_eq!(first[28..32], 0xE48B_FF57_u32.to_le_bytes());
    let bin = fs::read(at.join("firmware-pico2/pico2.bin")).unwrap();
    let mut flash = vec![0xFF; bin.len().next_multiple_of(256)];
    for block in uf2.chunks(512) {
        let word = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().unwrap()) as usize;
        assert_eq!((word(28), word(24)), (0xE48B_FF59, uf2.len() / 512));
        let at = word(12) - 0x1000_0000;
        flash[at..at + 256].copy_from_slice(&block[32..288]);
    }
    assert!(flash[..bin.len()] == bin, "UF2 and BIN differ");
}

#[test]
fn photos_run_through_the_chip_as_predict_sees_them() {
    if device_toolchain("qemu-m4").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let test = digits(&Network::open("mnist-cnn").unwrap(), Split::Test, 12);
    let mut files = Vec::new();
    for (i, &target) in test.targets.iter().enumerate() {
        let class = format!("photos/{target}");
        fs::create_dir_all(at.join(&class)).unwrap();
        let picture = image::GrayImage::from_fn(28, 28, |x, y| Luma([test.input(i)[(28 * y + x) as usize]]));
        // bigger ones are brought to the network's size
        let side = if i % 2 == 0 { 28 } else { 84 };
        let picture = image::imageops::resize(&picture, side, side, image::imageops::FilterType::Triangle);
        files.push(format!("{class}/{i:02}.png"));
        picture.save(at.join(&files[i])).unwrap();
    }
    files.sort();
    fs::write(at.join("photos/notes.txt"), "no picture").unwrap();

    let model = mnist();
    let run = json(&["run", "--board", "qemu-m4", "--model", &model, "--images", "photos", "--top", "3", "--json"], at);
    let predict: Vec<&str> =
        ["predict", "--model", &model, "--json"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let predicted = json(&predict, at);
    assert_eq!(run["photos"].as_array().unwrap().len(), 12);
    for (photo, prediction) in run["photos"].as_array().unwrap().iter().zip(predicted.as_array().unwrap()) {
        assert_eq!((&photo["image"], &photo["top"]), (&prediction["image"], &prediction["top"]));
        assert!(photo["instructions"].as_u64().unwrap() > 1_000_000, "{photo}");
    }
    assert_eq!((&run["differing_bytes"], &run["unreadable"]), (&0.into(), &0.into()));

    let watched = done(&["run", "--model", &model, "--images", "photos", "--watch"], at);
    let lines: Vec<&str> = watched.lines().collect();
    for (i, prediction) in predicted.as_array().unwrap().iter().enumerate() {
        let best = &prediction["top"][0];
        let score = (best["probability"].as_f64().unwrap() * 256.0) as i32 - 128;
        let logged = format!("debug: frame {i}: {}, score {score}", best["label"].as_str().unwrap());
        assert_eq!(lines[i], logged, "{watched}");
    }
    assert_eq!(lines[12], "info: 12 frames classified", "{watched}");
    assert!(lines[13].starts_with("photos/0/") && lines[13].ends_with(" %"), "{watched}");
    assert!(
        watched.contains("12 photos on qemu-m4 (Cortex-M4F)") && watched.contains("every output byte"),
        "{watched}"
    );

    // one that is broken is named, and the others are run
    fs::write(at.join("photos/0/broken.png"), "no picture").unwrap();
    let output = ocelli(&["run", "--model", &model, "--images", "photos"], at);
    let (said, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(
        errors.contains("photos/0/broken.png") && errors.contains("1 of 13 pictures could not be read"),
        "{errors}"
    );
    assert!(said.contains("12 photos on qemu-m4"), "{said}");
}

#[test]
fn a_run_without_pictures_or_emulator_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let model = mnist();
    let error = refused(&["run", "--board", "pico2", "--model", &model, "--images", "photos"], at);
    for part in ["ocelli flash --board pico2", "--watch", "--board qemu-m33-duo"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(refused(&["run", "--model", &model], at).contains("--images is missing"));
    assert!(refused(&["run", "--model", &model, "--images", "photos"], at).contains("photos"));
    fs::create_dir(at.join("photos")).unwrap();
    assert!(refused(&["run", "--model", &model, "--images", "photos"], at).contains("photos has no pictures"));
    assert!(refused(&["run", "--model", "nothing", "--images", "photos"], at).contains("there is no model file"));
    refused(&["run", "--model", &model, "--images", "photos", "--top", "0"], at);
}

/// Gives a board's UART a TCP port of its own, to which one command after the other connects; returns `tcp:HOST:PORT`.
fn serve(mut board: Emulated) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let name = format!("tcp:{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for command in listener.incoming() {
            let mut command = command.unwrap();
            command.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
            command.set_nodelay(true).unwrap();
            let line = board.line_mut();
            while copy(&mut command, line) && copy(line, &mut command) {}
        }
    });
    name
}

/// Passes on what has come; false when one side is gone.
fn copy(from: &mut TcpStream, to: &mut TcpStream) -> bool {
    let mut buffer = [0; 1024];
    match from.read(&mut buffer) {
        Ok(0) => false,
        Ok(count) => to.write_all(&buffer[..count]).is_ok(),
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

#[test]
fn a_model_is_pushed_to_a_board_signed_where_it_must_be() {
    let Some((board, toolchain)) = device_toolchain("qemu-m4") else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let said = done(&["push", "--new-key", "key"], at);
    let key = SecretKey::read(&at.join("key")).unwrap();
    assert!(said.contains(&key.public_hex()) && !said.contains(fs::read_to_string(at.join("key")).unwrap().trim()));
    assert!(refused(&["push", "--new-key", "key"], at).contains("key is there already"));

    let built_in = repository("tests/golden/tiny-v2.ocelli");
    let firmware = update::build(board, &toolchain, &built_in, Some(&key.public()), None).unwrap();
    let port = serve(Emulated::start(board, &firmware.elf).unwrap());
    let push = ["push", "--port", &port, "--model"];
    let status = done(&["push", "--port", &port], at);
    assert!(status.contains("qemu-m4: takes models of up to") && status.contains("(the firmware's own)"), "{status}");
    assert!(status.contains(&format!("signed only, by the key {}...", &key.public_hex()[..16])), "{status}");

    // a model of another shape, then the shipped one
    let tiny = text(&repository("tests/golden/every-operator-v2.ocelli"));
    let error = refused(&[&push[..], &[&tiny]].concat(), at);
    assert!(error.contains("takes signed models only"), "{error}");
    let said = done(&[&push[..], &[&tiny, "--key", "key"]].concat(), at);
    assert!(said.contains("9,972 bytes sent, checked and active (CRC-32 ") && said.contains("in slot 0"), "{said}");
    let said = done(&[&push[..], &[&tiny, "--key", "key"]].concat(), at);
    assert!(said.contains("the device has this model already"), "{said}");
    let said = done(&[&push[..], &[&mnist(), "--key", "key"]].concat(), at);
    assert!(said.contains("36,764 bytes sent, checked and active") && said.contains("in slot 1"), "{said}");
    let status = done(&["push", "--port", &port], at);
    assert!(status.contains("active: 36,764 bytes") && status.contains("slot 1, update 2"), "{status}");

    // the key of somebody else
    done(&["push", "--new-key", "other"], at);
    let error = refused(&[&push[..], &[&tiny, "--key", "other"]].concat(), at);
    assert!(error.contains("the signature is not one of this file by the key in its firmware"), "{error}");
    assert!(done(&["push", "--port", &port], at).contains("active: 36,764 bytes"), "the old model stays");
}

#[test]
fn what_cannot_be_pushed_is_said_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let refusal = |arguments: &[&str]| refused(&[&["push"], arguments].concat(), at);
    let error = refusal(&["--port", "no-such-port", "--model", &mnist()]);
    assert!(error.contains("cannot open no-such-port") && error.contains("serial port"), "{error}");
    // the files are looked at before the port
    fs::write(at.join("text"), "no model").unwrap();
    assert!(refusal(&["--port", "no-such-port", "--model", "text"]).contains("text: "));
    let blocks = text(&repository("tests/golden/blocks-v2.ocelli"));
    assert!(refusal(&["--port", "no-such-port", "--model", &blocks]).contains("was compiled for a PC"));
    assert!(refusal(&["--port", "no-such-port", "--model", &mnist(), "--key", "text"]).contains("text holds no key"));
    let nothing: &[&[&str]] = &[&[], &["--model", "text"], &["--port", "x", "--key", "text"]];
    for arguments in nothing {
        let output = ocelli(&[&["push"], *arguments].concat(), at);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    // a line on which nobody answers
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = format!("tcp:{}", listener.local_addr().unwrap());
    let error = refusal(&["--port", &port, "--model", &mnist(), "--timeout-ms", "20"]);
    assert!(error.contains("the device did not answer when asked for who is there (5 times, 20 ms each)"), "{error}");
}
