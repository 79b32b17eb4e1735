use super::*;
use crate::data::Dataset;
use crate::network::Network;
use crate::report::evaluation::{Evaluation, Part};
use crate::report::figures::{Checked, CheckedRow, DeviceFigures, Figures};
use crate::report::history::Curves;
use crate::report::metrics::Predictions;
use crate::report::quantization::{LayerError, QuantizationError};
use ocelli::image::ColorOrder;
use ocelli::ir::Shape;

const HISTORY: &str = "epoch,loss,accuracy,val_loss,val_accuracy,seconds,learning_rate\n\
    1,0.9,0.6,0.8,0.7,1,1e-3\n2,0.5,0.8,0.6,0.75,2,5e-4\n";

/// A run of digits in which every text that comes from a file or a user is `text` with a number.
fn run(text: &str, classes: usize) -> RunView {
    let label = |class: usize| format!("{text}{class}");
    let images = 3 * classes;
    let set = Dataset {
        labels: (0..classes).map(label).collect(),
        shape: Shape::new(2, 2, 1),
        pixels: vec![7; 4 * images],
        targets: (0..images).map(|i| i % classes).collect(),
        names: (0..images).map(label).collect(),
        skipped: Vec::new(),
    };
    // every third image is taken for the next class
    let guess = |i: usize| if i.is_multiple_of(3) { (i + 1) % classes } else { i % classes };
    let scores: Vec<i8> =
        (0..images).flat_map(|i| (0..classes).map(move |c| if c == guess(i) { 100 } else { -128 })).collect();
    let predictions = Predictions::from_scores(&scores, &set.targets, classes).unwrap();
    let evaluation = Evaluation::new(Path::new(text), Part::All, &set, &predictions);
    let mut evaluation = evaluation.with_pictures(&set, ColorOrder::Gray).unwrap();
    evaluation.surest_mistakes[0].picture = Some(format!("data:image/png;base64,{text}"));
    let layer =
        LayerError { name: text.to_owned(), values: 9, step: 0.1, snr_db: Some(31.0), mean_steps: 0.3, max_steps: 2.0 };
    let row = |status: &str| CheckedRow {
        what: text.to_owned(),
        found: text.to_owned(),
        allowed: text.to_owned(),
        status: status.to_owned(),
    };
    let device = DeviceFigures {
        on: text.to_owned(),
        board: text.to_owned(),
        images: 3,
        accuracy: 1.0,
        instructions: 123_456,
        flash_bytes: 1,
        ram_bytes: 2,
        stack_bytes: 1,
        differing_bytes: 0,
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(names::HISTORY), HISTORY).unwrap();
    let settings: toml::Table = [(text.to_owned(), toml::Value::from(text))].into_iter().collect();
    let mut network = Network::open("mnist-cnn").unwrap();
    network.name = text.to_owned();
    network.layers[0].name = text.to_owned();
    RunView {
        folder: folder.path().to_owned(),
        network,
        labels: set.labels,
        config: [("dataset".to_owned(), toml::Value::Table(settings))].into_iter().collect(),
        curves: Curves::read(folder.path()).unwrap(),
        model: None,
        figures: Figures {
            int8: Some(evaluation.clone()),
            float: Some(evaluation),
            quantization: Some(QuantizationError { on: text.to_owned(), images: 3, layers: vec![layer] }),
            check: Some(Checked {
                on: text.to_owned(),
                rows: vec![row("ok"), row("FAILED"), row(text)],
                device: Some(device),
            }),
        },
        trained: None,
    }
}

/// The tags of a page with the names of their attributes, as a browser takes it apart: text and values in quotes are left out.
///
/// # Source
/// WHATWG HTML, section 13.2.5 (tokenization), for documents without comments and unquoted attributes.
fn skeleton(page: &str) -> Vec<String> {
    let mut tags = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        let (mut tag, mut quoted, mut end) = (String::new(), false, rest.len());
        for (i, letter) in rest[at + 1..].char_indices() {
            match letter {
                '"' => quoted = !quoted,
                '>' if !quoted => {
                    end = at + 2 + i;
                    break;
                }
                letter if !quoted => tag.push(letter),
                _ => {}
            }
        }
        rest = &rest[end..];
        tags.push(tag);
    }
    tags
}

#[test]
fn a_name_from_a_file_is_never_markup() {
    let plain = render(&run("name", 10)).unwrap();
    for hostile in [
        "</td></table><script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "</title></style><style>*{display:none}",
        "<!-- <b>",
        "javascript:alert(1)//",
    ] {
        let page = render(&run(hostile, 10)).unwrap();
        assert_eq!(skeleton(&page), skeleton(&plain), "{hostile}");
    }
}

#[test]
fn a_page_needs_nothing_else() {
    for classes in [10, 40] {
        let mut view = run("name", 10);
        if classes > 10 {
            view.figures.int8 = run("name", classes).figures.int8;
        }
        let page = render(&view).unwrap();
        assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("<script"), "{classes}");
        for source in page.split(" src=\"").skip(1).chain(page.split("url(").skip(1)) {
            assert!(source.starts_with("data:image/"), "{}", &source[..40]);
        }
        // what is linked is there
        for link in page.split("href=\"#").skip(1) {
            let id = link.split('"').next().unwrap();
            assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
        }
        assert!(page.contains("name=\"viewport\""));
    }
}

#[test]
fn a_picture_that_is_none_is_left_out() {
    let mut view = run("name", 10);
    if let Some(int8) = &mut view.figures.int8 {
        int8.surest_mistakes[0].picture = Some("https://example.org/spy.png".to_owned());
    }
    let page = render(&view).unwrap();
    assert!(!page.contains("example.org"));
    assert!(page.contains("<span>name0</span>"), "its name stands in its place");
}

#[test]
fn what_was_not_measured_says_how_to() {
    let mut view = run("name", 10);
    view.figures = Figures::default();
    view.curves = None;
    let page = render(&view).unwrap();
    assert_eq!(page.matches("Not measured. To measure:").count(), 8);
    for command in ["ocelli report RUN DATA", "ocelli check RUN DATA --board", "ocelli train"] {
        assert!(page.contains(command), "{command}");
    }
}

#[test]
fn the_figures_stand_on_the_page() {
    let page = render(&run("name", 10)).unwrap();
    // 20 of 30 are right; the network has 34,826 parameters; the device's figure
    for figure in
        ["66.67 %", "34,826", "123,456", "31.0", "Best validation accuracy <b>75.00 %</b> in epoch 2", "Learning rate"]
    {
        assert!(page.contains(figure), "{figure}");
    }
}

#[test]
fn every_figure_says_what_it_was_measured_on() {
    let page = render(&run("name", 10)).unwrap();
    for part in [
        "<dt>accuracy, int8</dt><dd>66.67 % <small class=\"on\">all 30 images of name</small></dd>",
        "<dt>accuracy, float</dt>",
        "On all 30 images of name.",
        "Of the int8 model, on all 30 images of name.",
        "Of all 30 images of name, 10 are guessed wrong",
        "the first 3 of name",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn figures_of_different_images_are_not_shown_side_by_side() {
    let mut view = run("name", 10);
    if let Some(float) = &mut view.figures.float {
        float.data = "photos/other".to_owned();
        float.part = Part::Test;
        float.images_hash = "another".to_owned();
    }
    let page = render(&view).unwrap();
    assert!(!page.contains("<dt>accuracy, float</dt>"));
    for part in ["On all 30 images of name.", "On 30 test images of other.", "measured on different images"] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("aria-label=\"Results\"").count(), 2, "a table each");
    // nor beside the accuracy that the training saw
    view.figures.float = None;
    assert!(!render(&view).unwrap().contains("<dt>validation accuracy, float</dt>"));
    view.figures.int8 = None;
    let page = render(&view).unwrap();
    let tile = "<dt>validation accuracy, float</dt><dd>75.00 % <small class=\"on\">epoch 2, whose weights are kept</small></dd>";
    assert!(page.contains(tile));
}

#[test]
fn a_bench_of_another_model_of_the_same_length_does_not_count() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let folder = tempfile::tempdir().unwrap();
    let page = |run: &str| {
        for name in [names::NETWORK, names::CONFIG, names::MODEL] {
            std::fs::copy(models.join(run).join(name), folder.path().join(name)).unwrap();
        }
        render(&RunView::read(folder.path()).unwrap()).unwrap()
    };
    let model = std::fs::read(models.join("mnist-cnn").join(names::MODEL)).unwrap();
    let checksum = u32::from_le_bytes(*model.last_chunk().unwrap());
    let bench = format!(
        "{{\"model_crc32\": {checksum}, \"flash_model_bytes\": {}, \"instructions\": 987654, \"layers\": []}}",
        model.len()
    );
    std::fs::write(folder.path().join(names::BENCH), bench).unwrap();
    assert!(page("mnist-cnn").contains("987,654"));
    assert!(!page("mnist-cnn-60k").contains("987,654"));
}
