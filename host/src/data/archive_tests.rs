//! Archives made by their libraries' writers: honest ones, damaged ones, hostile ones.

use super::super::{DataSource, Dataset, Kind, Split};
use super::*;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use image::{GrayImage, ImageFormat, Luma};
use ocelli::image::{ColorOrder, InputSpec, Resize};
use ocelli::ir::Shape;
use rawzip::{CompressionMethod, ZipArchiveWriter};
use std::io::Write;
use tempfile::TempDir;

const SPEC: InputSpec = InputSpec {
    shape: Shape::new(2, 2, 1),
    color: ColorOrder::Gray,
    resize: Resize::Stretch,
    mean: [0.0; 3],
    std: [1.0; 3],
};

fn png(value: u8) -> Vec<u8> {
    let mut bytes = io::Cursor::new(Vec::new());
    GrayImage::from_pixel(2, 2, Luma([value])).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn zip(files: &[(&str, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut archive = ZipArchiveWriter::new(&mut bytes);
    for (name, content) in files {
        let (mut entry, config) = archive.new_file(name).compression_method(method).start().unwrap();
        if method == CompressionMethod::DEFLATE {
            let mut writer = config.wrap(DeflateEncoder::new(&mut entry, Compression::default()));
            writer.write_all(content).unwrap();
            let (encoder, descriptor) = writer.finish().unwrap();
            encoder.finish().unwrap();
            entry.finish(descriptor).unwrap();
        } else {
            let mut writer = config.wrap(&mut entry);
            writer.write_all(content).unwrap();
            let (_, descriptor) = writer.finish().unwrap();
            entry.finish(descriptor).unwrap();
        }
    }
    archive.finish().unwrap();
    bytes
}

fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // written by hand: the library refuses what leads out of the archive
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn photos() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("pets/train/cat/2.png", png(2)),
        ("pets/train/cat/1.png", png(1)),
        ("pets/train/dog/more/3.png", png(3)),
        ("pets/train/dog/.hidden.png", png(9)),
        ("pets/val/dog/4.png", png(4)),
        ("pets/notes.txt", b"not a picture".to_vec()),
        ("__MACOSX/pets/train/cat/1.png", png(9)),
    ]
}

fn put(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn load(path: &Path, split: Split) -> Dataset {
    DataSource::open(path, None).unwrap().load(split, &SPEC, &mut |_, _| ()).unwrap()
}

#[test]
fn class_folders_are_read_from_every_kind_of_archive() {
    let files = photos();
    for (name, bytes) in [
        ("a.zip", zip(&files, CompressionMethod::STORE)),
        ("b.zip", zip(&files, CompressionMethod::DEFLATE)),
        ("c.tar", tar(&files)),
        ("d.tar.gz", gzip(&tar(&files))),
        ("told-by-content.bin", tar(&files)),
    ] {
        let (_folder, path) = put(name, &bytes);
        let source = DataSource::open(&path, None).unwrap();
        assert_eq!(source.kind(), Kind::ClassFolders, "{name}");
        assert_eq!(source.labels(), ["cat", "dog"]);
        assert_eq!(source.splits(), [Split::Train, Split::Validation]);
        let train = load(&path, Split::Train);
        assert_eq!(
            (train.targets.as_slice(), train.pixels.as_slice()),
            (&[0, 0, 1][..], &[1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3][..])
        );
        assert_eq!(train.names[2], "pets/train/dog/more/3.png");
        assert_eq!(load(&path, Split::Validation).targets, [1]);
    }
}

#[test]
fn names_that_lead_out_are_no_files_but_named_and_nothing_is_written() {
    let files = [
        ("cat/1.png", png(1)),
        ("../evil/1.png", png(1)),
        ("cat/../../evil.png", png(1)),
        ("/etc/evil.png", png(1)),
        ("C:/evil/1.png", png(1)),
        ("dog/2.png", png(2)),
    ];
    // the zip library's writer cleans names: dots and slashes are put in afterwards
    let disguised = files
        .clone()
        .map(|(name, bytes)| (name.replace("..", "%%").replace("/etc", "#etc").replace("C:", "C#"), bytes));
    let disguised: Vec<_> = disguised.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let mut hostile = zip(&disguised, CompressionMethod::DEFLATE);
    let mut put_in = |marker: &[u8], name: &[u8]| {
        let places: Vec<usize> =
            (0..hostile.len() - marker.len()).filter(|&at| hostile[at..].starts_with(marker)).collect();
        for &at in &places {
            hostile[at..at + name.len()].copy_from_slice(name);
        }
        places.len()
    };
    // in local headers and in the directory
    assert_eq!((put_in(b"%%", b".."), put_in(b"#etc", b"/etc"), put_in(b"C#/", b"C:/")), (6, 2, 2));
    for (name, bytes) in [("a.zip", hostile), ("b.tar", tar(&files)), ("c.tar.gz", gzip(&tar(&files)))] {
        let (folder, path) = put(name, &bytes);
        let source = DataSource::open(&path, None).unwrap();
        assert_eq!(source.labels(), ["cat", "dog"], "{name}");
        let outside = ["../evil/1.png", "cat/../../evil.png", "/etc/evil.png", "C:/evil/1.png"].map(PathBuf::from);
        assert_eq!(source.passed_over().outside, outside, "{name}");
        let train = load(&path, Split::Train);
        assert_eq!((train.len(), train.skipped.len()), (2, 1), "said once");
        assert!(train.skipped[0].reason.contains("leads out of the archive; 3 files more"), "{:?}", train.skipped);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn what_is_no_picture_or_of_no_class_is_said_once() {
    let files = [
        ("pets/train/cat/1.png", png(1)),
        ("pets/train/cat/notes.txt", b"not a picture".to_vec()),
        ("pets/train/dog/2.png", png(2)),
        ("pets/train/dog/more/3.csv", b"a,b".to_vec()),
        ("pets/train/4.png", png(4)),
        ("pets/cover.jpg", png(4)),
        ("pets/README.md", b"about".to_vec()),
    ];
    let (_folder, path) = put("a.zip", &zip(&files, CompressionMethod::DEFLATE));
    let source = DataSource::open(&path, None).unwrap();
    assert_eq!((source.labels().len(), source.count(Split::Train)), (2, Some(2)));
    let named = |paths: &[PathBuf]| {
        paths.iter().map(|p| p.strip_prefix(&path).unwrap().display().to_string()).collect::<Vec<_>>()
    };
    let passed = source.passed_over();
    assert_eq!(named(&passed.not_pictures), ["pets/train/cat/notes.txt", "pets/train/dog/more/3.csv"]);
    assert_eq!(named(&passed.without_class), ["pets/cover.jpg", "pets/train/4.png"]);
}

#[test]
fn packings_that_are_not_read_are_named_with_those_that_are() {
    for (name, bytes, packing) in [
        ("a.tar.bz2", &b"BZh91AY&SY"[..], "bzip2"),
        ("a.tar.xz", &b"\xfd7zXZ\0\0\x04"[..], "xz"),
        ("a.tar.zst", &b"\x28\xb5\x2f\xfd\x04"[..], "zstd"),
        ("a.7z", &b"7z\xbc\xaf\x27\x1c\0\x04"[..], "7-Zip"),
    ] {
        let (_folder, path) = put(name, bytes);
        let error = DataSource::open(&path, None).unwrap_err().to_string();
        assert!(error.contains(&format!("packed with {packing}, which is not supported")), "{error}");
        assert!(error.contains(name) && error.contains("use .tar.gz, .tar or .zip"), "{error}");
    }
}

#[test]
fn cifar_is_read_from_its_archive_as_it_is_downloaded() {
    let record = |label: u8| std::iter::once(label).chain([label; 3072]).collect::<Vec<u8>>();
    let batch: Vec<u8> = [record(1), record(2)].concat();
    let files =
        [("cifar-10-batches-bin/data_batch_1.bin", batch.clone()), ("cifar-10-batches-bin/test_batch.bin", record(7))];
    for (name, bytes) in
        [("cifar-10-binary.tar.gz", gzip(&tar(&files))), ("cifar.zip", zip(&files, CompressionMethod::DEFLATE))]
    {
        let (_folder, path) = put(name, &bytes);
        assert_eq!(DataSource::open(&path, None).unwrap().kind(), Kind::Cifar10);
        assert_eq!(load(&path, Split::Train).targets, [1, 2]);
        assert_eq!(load(&path, Split::Test).pixels, [7; 4]);
    }
}

#[test]
fn classes_are_in_one_order_wherever_they_lie() {
    let names = ["1/a.png", "10/b.png", "2/c.png"];
    let (folder, path) = put("a.zip", &zip(&names.map(|name| (name, png(1))), CompressionMethod::STORE));
    let mut table = String::from("path,label\n");
    for name in names {
        let class = name.split('/').next().unwrap();
        std::fs::create_dir_all(folder.path().join("set").join(class)).unwrap();
        std::fs::write(folder.path().join("set").join(name), png(1)).unwrap();
        // the other way round: the order of the lines is not that of the classes
        table.insert_str("path,label\n".len(), &format!("set/{name},{class}\n"));
    }
    std::fs::write(folder.path().join("set.csv"), table).unwrap();
    for place in [path, folder.path().join("set"), folder.path().join("set.csv")] {
        // Keras: sorted(os.listdir(directory))
        assert_eq!(DataSource::open(&place, None).unwrap().labels(), ["1", "10", "2"], "{}", place.display());
    }
}

#[test]
fn a_cut_archive_never_loads_whole() {
    let files = photos()[..5].to_vec(); // nothing after the last picture
    for (name, bytes) in
        [("a.zip", zip(&files, CompressionMethod::DEFLATE)), ("b.tar", tar(&files)), ("c.tar.gz", gzip(&tar(&files)))]
    {
        // a tar ends with zeros that nobody needs: what fills the last block of 512 bytes, and a kilobyte
        let whole = if name == "b.tar" { bytes.len() - 1024 - 512 + png(4).len() } else { bytes.len() };
        for end in (0..whole).step_by(1 + whole / 97) {
            let (_folder, path) = put(name, &bytes[..end]);
            let loaded = DataSource::open(&path, None).and_then(|source| {
                let train = source.load(Split::Train, &SPEC, &mut |_, _| ())?;
                let validation = source.load(Split::Validation, &SPEC, &mut |_, _| ())?;
                Ok(train.len() + validation.len())
            });
            assert!(
                loaded.as_ref().map_or(true, |&count| count < 4),
                "{name}: {end} of {} bytes: {loaded:?}",
                bytes.len()
            );
        }
    }
}

#[test]
fn a_flipped_byte_of_a_zip_is_seen_by_its_checksum() {
    let files = [("cat/1.txt.png", png(1)), ("cat/3.png", png(3)), ("dog/2.png", png(2))];
    let mut bytes = zip(&files, CompressionMethod::STORE);
    let at = bytes.windows(4).position(|four| four == b"IDAT").unwrap();
    bytes[at + 8] ^= 4;
    let (_folder, path) = put("a.zip", &bytes);
    let train = load(&path, Split::Train);
    assert_eq!((train.len(), train.skipped.len()), (2, 1));
    assert!(train.skipped[0].path.ends_with("a.zip/cat/1.txt.png"), "{:?}", train.skipped);
}

#[test]
fn what_is_no_archive_is_no_dataset_and_unknown_packing_is_named() {
    let (_folder, path) = put("a.gz", &gzip(b"only text"));
    assert!(matches!(DataSource::open(&path, None), Err(DataError::NotADataset { .. })));
    let (_folder, path) = put("a.zip", &zip(&[("notes.txt", b"x".to_vec())], CompressionMethod::STORE));
    assert!(matches!(DataSource::open(&path, None), Err(DataError::NotADataset { .. })));
    let files = [("cat/1.png", png(1)), ("dog/2.png", png(2))];
    let mut bytes = zip(&files, CompressionMethod::STORE);
    // method 12, bzip2, in every header: local (signature 04 03) at 8, central (02 01) at 10
    for at in 0..bytes.len() - 12 {
        match &bytes[at..at + 4] {
            b"PK\x03\x04" => bytes[at + 8] = 12,
            b"PK\x01\x02" => bytes[at + 10] = 12,
            _ => {}
        }
    }
    let (_folder, path) = put("a.zip", &bytes);
    let error = DataSource::open(&path, None).unwrap().load(Split::Train, &SPEC, &mut |_, _| ()).unwrap_err();
    assert!(matches!(error, DataError::AllCorrupt { .. }) && error.to_string().contains("Deflate"), "{error}");
}

#[test]
fn an_encrypted_zip_says_so() {
    let mut bytes = zip(&[("cat/1.png", png(1)), ("dog/2.png", png(2))], CompressionMethod::STORE);
    for at in 0..bytes.len() - 12 {
        if &bytes[at..at + 4] == b"PK\x01\x02" {
            bytes[at + 8] |= 1;
        }
    }
    let (_folder, path) = put("a.zip", &bytes);
    let error = DataSource::open(&path, None).unwrap_err().to_string();
    assert!(error.contains("encrypted") && error.contains("a.zip"), "{error}");
}
