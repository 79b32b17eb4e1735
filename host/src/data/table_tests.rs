//! Tables, good and bad.

use super::super::{DataSource, Kind};
use super::*;
use image::{GrayImage, Luma};
use ocelli::image::{ColorOrder, InputSpec, Resize};
use ocelli::ir::Shape;
use tempfile::TempDir;

const SPEC: InputSpec = InputSpec {
    shape: Shape::new(2, 2, 1),
    color: ColorOrder::Gray,
    resize: Resize::Stretch,
    mean: [0.0; 3],
    std: [1.0; 3],
};

fn folder(table: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("in, out")).unwrap();
    for i in 1..=4_u8 {
        GrayImage::from_pixel(2, 2, Luma([i])).save(folder.path().join(format!("in, out/{i}.png"))).unwrap();
    }
    std::fs::write(folder.path().join("set.csv"), table).unwrap();
    folder
}

fn open(table: &str) -> Result<DataSource, DataError> {
    DataSource::open(&folder(table).path().join("set.csv"), None)
}

#[test]
fn paths_labels_and_splits_are_read_in_any_order_of_columns() {
    let table = "\u{feff}label,Path,width,split\r\n10,\"in, out/1.png\",3,train\r\n9,\"in, out/2.png\",3,\r\n\r\n\
                 10,\"in, out/3.png\",3,val\r\n9,\"in, out/4.png\",3,testing";
    let folder = folder(table);
    let source = DataSource::open(&folder.path().join("set.csv"), None).unwrap();
    assert_eq!(source.kind(), Kind::Table);
    assert_eq!(source.labels(), ["10", "9"], "the order of folders: as text");
    assert_eq!(source.splits(), Split::ALL);
    let train = source.load(Split::Train, &SPEC, &mut |_, _| ()).unwrap();
    assert_eq!((train.targets.as_slice(), train.pixels[0], train.pixels[4]), (&[0, 1][..], 1, 2));
    assert_eq!(train.names[0], "in, out/1.png");
    assert_eq!(source.load(Split::Test, &SPEC, &mut |_, _| ()).unwrap().pixels, [4; 4]);
}

#[test]
fn a_folder_with_a_table_and_no_class_folders_is_that_table() {
    let folder = folder("");
    std::fs::rename(folder.path().join("in, out"), folder.path().join("1")).unwrap();
    for i in 1..=4 {
        std::fs::rename(folder.path().join(format!("1/{i}.png")), folder.path().join(format!("{i}.png"))).unwrap();
    }
    std::fs::write(folder.path().join("labels.csv"), "image,class\n1.png,a\n2.png,b\n").unwrap();
    let source = DataSource::open(folder.path(), None).unwrap();
    assert_eq!((source.kind(), source.count(Split::Train)), (Kind::Table, Some(2)));
}

#[test]
fn missing_files_are_skipped_and_named() {
    let folder = folder("path,label\n\"in, out/1.png\",a\nnowhere.png,a\n\"in, out/2.png\",b\n");
    let source = DataSource::open(&folder.path().join("set.csv"), None).unwrap();
    let train = source.load(Split::Train, &SPEC, &mut |_, _| ()).unwrap();
    assert_eq!((train.len(), train.skipped[0].path.clone()), (2, folder.path().join("nowhere.png")));
}

#[test]
fn what_is_no_such_table_says_which_line() {
    for (table, expected) in [
        ("file,kind\n1.png,a\n", "no column \"label\" (it says file,kind)"),
        ("label\na\n", "no column \"path\""),
        (
            "path;label\n1.png;a\n",
            "(it says path;label): its columns are separated by a semicolon, and must be by a comma",
        ),
        ("path\tlabel\n1.png\ta\n", "separated by a tab"),
        ("path,label\n1.png,a\n2.png\n", "line 3 has no label"),
        ("path,label\n1.png,a\n ,b\n", "line 3 has no path"),
        ("path,label,split\n1.png,a,train\n2.png,b,later\n", "line 3 has the split \"later\""),
        ("path,label,split\n1.png,a,train\n2.png,b,train\n3.png,c,test\n", "class \"c\""),
        ("path,label\n", "holds no images"),
        ("", "no dataset here"),
        ("path,label\n1.png,a\n", "all images are of one class"),
    ] {
        let message = open(table).unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains("set.csv"), "{table:?}: {message}");
    }
    let long = format!("path,label\n\"{}\",a\n", "x".repeat(70_000));
    assert!(open(&long).unwrap_err().to_string().contains("line 2 has a field of more than"));
}
