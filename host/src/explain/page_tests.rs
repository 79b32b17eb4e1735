use super::*;
use crate::compile::{Options, Target, compile};
use crate::explain::cell::{byte, sum};
use crate::explain::{FloatSide, Numbers, Observed};
use crate::model::{ModelBytes, probabilities};
use crate::network::{Network, Weights};
use crate::quantize::{Calibration, QuantParams, Range, quantize};
use ocelli::ir::Shape;
use ocelli::model::records::OpRecord;
use ocelli::quant::Multiplier;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A network with every operator, its float side and a run of noise through both.
pub(in crate::explain) struct Small {
    pub side: FloatSide,
    pub observed: Observed,
    pub pixels: Vec<u8>,
    pub inside: Inside,
}

const EVERY_LAYER: &str = include_str!("../../../tests/data/every-layer.toml");

pub(in crate::explain) fn small() -> Small {
    run(EVERY_LAYER, Target::HOST)
}

/// Runs a network with fresh weights, compiled for a target, over a picture of noise.
pub(in crate::explain) fn run(net: &str, target: Target) -> Small {
    let network = Network::from_toml(net, "net.toml").unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut weights = Weights::initial(&network, &mut rng).unwrap();
    let names: Vec<String> = weights.iter().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        let mut layer = weights.layer(&name).unwrap().clone();
        layer.bias.iter_mut().for_each(|bias| *bias = rng.random_range(-0.3..0.3));
        weights.insert(&name, layer);
    }
    let classes = network.classes().unwrap();
    let labels: Vec<String> = (0..classes).map(|class| format!("class </script> {class}")).collect();
    let calibration = Calibration::constant(&network, Range { min: -2.0, max: 3.0 }).unwrap();
    let quantized = quantize(&network, &weights, &calibration, &labels).unwrap();
    let model = ModelBytes::new(&compile(&quantized, Options::for_target(target)).unwrap());
    let pixels: Vec<u8> = (0..network.input.shape.elements().unwrap()).map(|_| rng.random()).collect();
    let side = FloatSide { network, weights };
    let observed = side.observe(&model.input_spec().unwrap(), &pixels).unwrap();
    let inside = Inside::of_picture(&model, Some(&observed), &pixels).unwrap();
    Small { side, observed, pixels, inside }
}

impl Small {
    fn content(&self) -> Content<'_> {
        Content {
            model: "small".to_owned(),
            picture: "noise </script>.png".to_owned(),
            spec: self.side.network.input,
            pixels: &self.pixels,
            inside: &self.inside,
            float_scores: self.observed.scores(),
            int8_scores: probabilities(&self.inside.tensors.last().unwrap().int8),
            cams: Vec::new(),
            cam_classes: Vec::new(),
            cam_layer: None,
            notes: Vec::new(),
        }
    }
}

/// The cells of a tensor.
fn cells(shape: Shape) -> impl Iterator<Item = [usize; 3]> {
    let [h, w, c] = [shape.h, shape.w, shape.c].map(|n| n as usize);
    (0..h).flat_map(move |y| (0..w).flat_map(move |x| (0..c).map(move |c| [y, x, c])))
}

/// Holds every cell to the runtime's byte; returns how many of each kind of operator there were.
fn check_bytes(inside: &Inside) -> Vec<(u8, usize)> {
    let mut counted = Vec::new();
    for (index, layer) in inside.layers.iter().enumerate() {
        let output = &inside.tensors[index + 1];
        let mut count = 0;
        for (cell, &made) in cells(output.shape).zip(&output.int8) {
            let Some(byte) = byte(inside, index, cell) else { continue };
            assert_eq!(byte, made, "layer '{}', cell {cell:?}", layer.name);
            count += 1;
        }
        let is_softmax = layer.record.kind == kind::SOFTMAX;
        assert_eq!(count, if is_softmax { 0 } else { output.int8.len() }, "layer '{}'", layer.name);
        counted.push((layer.record.kind, count));
    }
    counted
}

#[test]
fn every_cell_of_every_operator_is_the_byte_that_the_runtime_made() {
    let board = ocelli_firmware_tools::find("qemu-m4").unwrap();
    for target in [Target::HOST, Target::of(board)] {
        let counted = check_bytes(&run(EVERY_LAYER, target).inside);
        for kind in [kind::CONV2D, kind::DEPTHWISE_CONV2D, kind::DENSE, kind::ADD, kind::MUL, kind::MAX_POOL2D] {
            assert!(counted.iter().any(|(k, count)| *k == kind && *count > 0), "no operator of kind {kind}");
        }
    }
}

#[test]
fn the_float_sums_are_the_float_network() {
    let inside = small().inside;
    let mut compared = 0;
    for (index, layer) in inside.layers.iter().enumerate() {
        let Some(float) = inside.tensors[index + 1].float.as_ref().filter(|_| layer.numbers.is_some()) else {
            continue;
        };
        for (cell, &value) in cells(inside.tensors[index + 1].shape).zip(float) {
            let [_, _, ours] = sum(&inside, index, cell).unwrap().float.unwrap();
            // leaky relu and its like are operators of their own: the sum is before them
            assert!((ours - value).abs() < 1e-4, "layer '{}', cell {cell:?}: {ours}, Burn has {value}", layer.name);
            compared += 1;
        }
    }
    assert!(compared > 5000, "{compared}");
}

fn bytes(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

fn f32s(text: &str) -> Vec<f32> {
    bytes(text).chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn i32s(text: &str) -> Vec<i32> {
    bytes(text).chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn i8s(text: &str) -> Vec<i8> {
    bytes(text).into_iter().map(|b| i8::from_ne_bytes([b])).collect()
}

/// The run as a page's data has it, read back from its JSON.
fn read_back(json: &str) -> Inside {
    let data: PageData = serde_json::from_str(json).unwrap();
    let tensors = data.tensors.iter().map(|t| Values {
        name: t.name.clone(),
        shape: Shape::new(t.shape[0], t.shape[1], t.shape[2]),
        params: QuantParams { scale: t.scale, zero_point: t.zero_point },
        int8: i8s(&t.q),
        float: t.f.as_deref().map(f32s),
    });
    let layers = data.layers.iter().map(|l| {
        let mut record = OpRecord::new(l.code, l.inputs[0] as u16);
        record.inputs[1] = l.inputs.get(1).map_or(record.inputs[1], |&input| input as u16);
        (record.kernel, record.stride, record.dilation, record.pads) = (l.kernel, l.stride, l.dilation, l.pads);
        (record.groups, [record.act_min, record.act_max]) = (l.groups, l.clamp);
        record.flags = if l.ties_up { flag::TIES_UP } else { 0 } | if l.round_once { flag::ROUND_ONCE } else { 0 };
        let numbers = l.weights.as_ref().map(|w| Numbers {
            taps: w.taps,
            depth: w.depth,
            int8: i8s(&w.q),
            bias: i32s(&w.bias),
            weight_zero_point: w.zero_point,
            float: w.f.as_deref().map(|f| (f32s(f), f32s(w.f_bias.as_deref().unwrap()))),
        });
        let (multipliers, shifts) = match &l.weights {
            Some(w) => (i32s(&w.multipliers), i32s(&w.shifts)),
            None => (l.multipliers.clone(), l.shifts.clone()),
        };
        let factors = multipliers.into_iter().zip(shifts).map(|(multiplier, shift)| Multiplier { multiplier, shift });
        Layer {
            name: l.name.clone(),
            record,
            inputs: l.inputs.clone(),
            numbers,
            factors: factors.collect(),
            table: l.table.as_deref().map_or_else(Vec::new, i8s),
            op: None,
        }
    });
    Inside { tensors: tensors.collect(), layers: layers.collect(), labels: data.labels.clone() }
}

/// The JSON between the data script's tags.
fn json_of(page: &str) -> &str {
    let start = page.find(r#"<script id="data" type="application/json">"#).unwrap();
    let start = start + page[start..].find('>').unwrap() + 1;
    &page[start..start + page[start..].find("</script>").unwrap()]
}

#[test]
fn the_data_of_a_page_gives_the_runtimes_bytes() {
    let small = small();
    let page = render(&small.content(), DEFAULT_BYTES).unwrap();
    let inside = read_back(json_of(&page));
    for (ours, theirs) in small.inside.tensors.iter().zip(&inside.tensors) {
        assert_eq!(
            (&ours.int8, &ours.float, ours.params),
            (&theirs.int8, &theirs.float, theirs.params),
            "{}",
            ours.name
        );
    }
    for (ours, theirs) in small.inside.layers.iter().zip(&inside.layers) {
        assert_eq!((&ours.numbers, &ours.factors, &ours.table), (&theirs.numbers, &theirs.factors, &theirs.table));
    }
    check_bytes(&inside);
}

#[test]
fn a_page_is_one_file_and_no_name_ends_its_scripts() {
    let small = small();
    let page = render(&small.content(), DEFAULT_BYTES).unwrap();
    assert_eq!(page.matches("</script>").count(), 2, "the data's and the script's own");
    for address in ["http:", "https:", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(address), "{address}");
    }
    assert!(page.contains("<title>") && !page.contains("{{"));
}

#[test]
fn a_page_that_must_be_small_is_small_and_says_what_it_left_out() {
    let small = small();
    let all = render(&small.content(), DEFAULT_BYTES).unwrap();
    let few = render(&small.content(), 40_000).unwrap();
    let frame = render(&Content { notes: Vec::new(), ..small.content() }, 0).unwrap().len();
    assert!(few.len() < all.len() && few.len() < frame + 60_000, "{} {} {frame}", few.len(), all.len());
    let data: PageData = serde_json::from_str(json_of(&few)).unwrap();
    assert!(data.notes.iter().any(|note| note.contains("feature maps only")), "{:?}", data.notes);
    assert!(data.tensors.iter().any(|t| !t.whole) && data.tensors.iter().all(|t| t.maps > 0));
}

/// Runs the page's own arithmetic outside of a browser; `None`, said aloud, where there is no node.
fn in_node(page: &str) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let driver = "const fs = require('fs');\n\
        const net = new Network(JSON.parse(fs.readFileSync(process.argv[2], 'utf8')));\n\
        console.log(JSON.stringify(verify(net)));\n";
    std::fs::write(folder.path().join("cell.js"), [SCRIPTS[0], driver].concat()).unwrap();
    std::fs::write(folder.path().join("data.json"), json_of(page)).unwrap();
    let run = std::process::Command::new("node").args(["cell.js", "data.json"]).current_dir(folder.path()).output();
    match run {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(error) => {
            assert!(std::env::var_os("OCELLI_REQUIRE_NODE").is_none(), "node cannot be run: {error}");
            eprintln!("the page's script: not run: node cannot be run ({error}): install Node.js");
            None
        }
    }
}

/// A page that holds another in a frame, and sends its document as soon as a script's condition holds, or after a minute.
fn frame(hash: &str, done: &str) -> String {
    format!(
        r#"<!doctype html><meta charset="utf-8"><iframe src="/page#{hash}" width="1200" height="900"></iframe><script>
const frame = document.querySelector("iframe"), $ = id => frame.contentDocument.getElementById(id);
frame.onload = async () => {{
  for (let tries = 0; tries < 600 && !({done}); tries++) await new Promise(done => setTimeout(done, 100));
  fetch("/found", {{ method: "POST", body: frame.contentDocument.documentElement.outerHTML }});
}};
</script>"#
    )
}

/// Opens a page in Chromium and returns what its scripts made of it; `None`, said aloud, where there is none.
fn in_browser(page: &str, hash: &str, done: &str) -> Option<String> {
    let visit = ocelli_browser::visit(&[("/", &frame(hash, done)), ("/page", page)]).unwrap();
    if visit.is_none() {
        assert!(std::env::var_os("OCELLI_REQUIRE_BROWSER").is_none(), "there is no Chromium: apt-get install chromium");
        eprintln!("the page in a browser: NOT RUN: there is no Chromium; on Debian: apt-get install chromium");
    }
    visit.map(|visit| visit.found)
}

#[test]
fn a_page_draws_itself_and_explains_the_cell_in_its_address() {
    let small = small();
    let page = render(&small.content(), DEFAULT_BYTES).unwrap();
    let Some(drawn) =
        in_browser(&page, "residual,2,3,4", "frame.contentDocument.body.textContent.includes('the same that')")
    else {
        return;
    };
    assert!(
        drawn.contains("row 2, column 3, channel 4") && drawn.contains("the same that the runtime made"),
        "{drawn}"
    );
    assert!(drawn.matches("<canvas").count() > 50, "maps are drawn");
    assert!(drawn.contains("class &lt;/script&gt; 3"), "labels are text");
    let Some(verified) = in_browser(&page, "verify", "$('verified')") else { return };
    assert!(verified.contains(r#"class="good" id="verified""#) && verified.contains(": 0 differ"), "{verified}");
}

#[derive(Deserialize)]
struct Verified {
    layer: String,
    checked: usize,
    wrong: usize,
    skipped: usize,
}

#[test]
fn the_script_of_a_page_computes_the_runtimes_bytes() {
    let small = small();
    let page = render(&small.content(), DEFAULT_BYTES).unwrap();
    let Some(answer) = in_node(&page) else { return };
    let layers: Vec<Verified> = serde_json::from_str(&answer).unwrap();
    assert_eq!(layers.len(), small.inside.layers.len());
    for (index, found) in layers.iter().enumerate() {
        let values = small.inside.tensors[index + 1].int8.len();
        let expected = if small.inside.layers[index].record.kind == kind::SOFTMAX { (0, values) } else { (values, 0) };
        assert_eq!((found.checked, found.skipped, found.wrong), (expected.0, expected.1, 0), "layer '{}'", found.layer);
    }
}
