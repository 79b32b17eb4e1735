use super::*;
use crate::files::RealDisk;
use crate::files::tests::SmallDisk;
use crate::jpeg::tests::colourful;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn caption(label: &str) -> Caption {
    Caption { label: Some(label.to_owned()), permille: 750, fps_tenths: Some(123) }
}

#[test]
fn a_png_shows_the_picture_the_label_and_the_bar() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latest.png");
    let display = PngFile { path: path.clone(), size: [240, 320], disk: Box::new(RealDisk) };
    let mut overlay = Overlay::new(Box::new(display));
    overlay.show(&colourful(64, 64), &caption("cat")).unwrap();
    let first = image::open(&path).unwrap().into_rgb8();
    assert_eq!(first.dimensions(), (240, 320));
    assert!(first.pixels().any(|pixel| pixel.0[2] == 255 && pixel.0[0] > 120), "the blue box of the picture");
    let green = first.pixels().filter(|pixel| pixel.0 == [0, 255, 0]).count();
    assert!(green > 300, "{green} pixels of the bar");
    overlay.show(&colourful(64, 64), &caption("dog")).unwrap();
    let second = image::open(&path).unwrap().into_rgb8();
    assert!(first != second, "another label is drawn");
    overlay.show(&colourful(128, 16), &caption("dog")).unwrap();
    let third = image::open(&path).unwrap().into_rgb8();
    assert_eq!(third.get_pixel(0, 0).0, [0; 3], "a wide frame leaves nothing of the square one above it");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing but the file is left");
}

#[test]
fn a_full_disk_leaves_the_file_that_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latest.png");
    let is_full = Arc::new(AtomicBool::new(false));
    let disk = Box::new(SmallDisk { is_full: Arc::clone(&is_full) });
    let mut overlay = Overlay::new(Box::new(PngFile { path: path.clone(), size: [64, 64], disk }));
    overlay.show(&colourful(8, 8), &caption("cat")).unwrap();
    let before = std::fs::read(&path).unwrap();
    is_full.store(true, Ordering::Relaxed);
    assert_eq!(overlay.show(&colourful(8, 8), &caption("dog")).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    is_full.store(false, Ordering::Relaxed);
    overlay.show(&colourful(8, 8), &caption("dog")).unwrap();
}

fn sysfs(folder: &Path, size: &str, bits: &str, stride: &str) -> io::Result<Geometry> {
    for (name, text) in [("virtual_size", size), ("bits_per_pixel", bits), ("stride", stride)] {
        std::fs::write(folder.join(name), format!("{text}\n")).unwrap();
    }
    Geometry::read(folder)
}

#[test]
fn pixels_lie_where_the_framebuffers_geometry_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fb0");
    let mut canvas = Canvas::new(3, 2);
    let points = [(Point::new(0, 0), Rgb888::new(255, 130, 8)), (Point::new(2, 1), Rgb888::new(1, 2, 3))];
    canvas.draw_iter(points.map(|(at, color)| Pixel(at, color))).unwrap();
    canvas.draw_iter([Pixel(Point::new(-1, 0), Rgb888::WHITE), Pixel(Point::new(3, 1), Rgb888::WHITE)]).unwrap();

    std::fs::write(&path, [0xaa; 64]).unwrap();
    let geometry = sysfs(folder.path(), "3,2", "32", "16").unwrap();
    assert_eq!(geometry, Geometry { size: [3, 2], bits_per_pixel: 32, stride: 16 });
    Framebuffer::new(path.clone(), geometry).show(&canvas).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!((&bytes[..4], &bytes[24..28], bytes.len()), (&[8, 130, 255, 255][..], &[3, 2, 1, 255][..], 64));

    let geometry = sysfs(folder.path(), "3,2", "16", "8").unwrap();
    let mut framebuffer = Framebuffer::new(path.clone(), geometry);
    for _ in 0..2 {
        framebuffer.show(&canvas).unwrap(); // at the same place again
        let bytes = std::fs::read(&path).unwrap();
        let expected = ((255_u16 >> 3 << 11) | (130 >> 2 << 5) | (8 >> 3)).to_le_bytes();
        // what lies behind the picture is left alone
        assert_eq!((&bytes[..2], &bytes[8..14], &bytes[16..20]), (&expected[..], &[0; 6][..], &[0, 0, 0, 255][..]));
    }
}

#[test]
fn framebuffers_that_cannot_be_written_are_refused_or_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Geometry::read(folder.path()).is_err());
    for (size, bits, stride) in
        [("3,2", "24", "9"), ("3", "32", "12"), ("0,2", "32", "12"), ("3,2", "32", "11"), ("a,b", "16", "6")]
    {
        assert!(sysfs(folder.path(), size, bits, stride).is_err(), "{size} {bits} {stride}");
    }
    let geometry = sysfs(folder.path(), "3,2", "32", "12").unwrap();
    let path = folder.path().join("fb0");
    let mut framebuffer = Framebuffer::new(path.clone(), geometry);
    assert!(framebuffer.show(&Canvas::new(3, 2)).is_err());
    std::fs::write(&path, []).unwrap();
    framebuffer.show(&Canvas::new(3, 2)).unwrap();
    let mut full = Framebuffer::new("/dev/full".into(), geometry);
    assert_eq!(full.show(&Canvas::new(3, 2)).unwrap_err().kind(), io::ErrorKind::StorageFull);
}
