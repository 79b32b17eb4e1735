//! What a program must know of its model when it is compiled, as Rust constants.

use ocelli::image::FrameConverter;
use ocelli::model::Model;
use ocelli::runtime::kinds_of;
use std::fmt::{self, Display};

/// The constants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    model_bytes: usize,
    arena_bytes: usize,
    scratch_words: usize,
    row_bytes: usize,
    ops: usize,
    kinds: u32,
    classes: usize,
    led_class: usize,
    led_label: String,
    slots: Option<Slots>,
    rest: Rest,
}

/// When a firmware wakes that sleeps between frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// Milliseconds from one turn to the next, or with the pin at the latest until one; 0: no such time.
    pub every_ms: u32,
    /// Whether a pin wakes it.
    pub by_pin: bool,
}

/// What a firmware that takes models over a line has besides. Numbers in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Offset of the first slot in the flash memory.
    pub first: u32,
    /// A slot.
    pub slot_bytes: u32,
    /// Working memory for the models that may come, if the built-in one does not need more.
    pub arena_bytes: usize,
}

/// Columns times channels of the largest input that a pushed model may have: 160 pixels of three colours.
const INPUT_ROW_VALUES: usize = 3 * 160;
/// Classes that a pushed model may have, if the built-in one has no more.
const CLASSES: usize = 128;
/// `ocelli::runtime::EVERY_KIND`.
const EVERY_KIND: u32 = u32::MAX;

impl Config {
    /// Reads them from a model file; `led_label` is the label that lights the LED, by default the first.
    pub fn of(file: &[u8], row_bytes: usize, led_label: Option<&str>) -> Result<Self, String> {
        // A model is read in place, at a multiple of four bytes.
        let mut padded = vec![0_u8; file.len() + 4];
        let start = padded.as_ptr().align_offset(4);
        let aligned = padded.get_mut(start..start + file.len()).ok_or("out of memory")?;
        aligned.copy_from_slice(file);
        let model = Model::parse(aligned).map_err(|error| error.to_string())?;
        let led_class = match led_label {
            Some(wanted) => model.labels().position(|label| label == wanted).ok_or_else(|| {
                let labels: Vec<&str> = model.labels().collect();
                format!("OCELLI_LED_LABEL={wanted}: the model has no such label; it has {}", labels.join(", "))
            })?,
            None => 0,
        };
        let output = model.graph().tensors.last().ok_or("the model has no output")?;
        let classes =
            [output.h, output.w, output.c].iter().map(|&side| usize::try_from(side)).product::<Result<_, _>>();
        Ok(Self {
            model_bytes: file.len(),
            arena_bytes: usize::try_from(model.arena_bytes()).map_err(|error| error.to_string())?,
            scratch_words: FrameConverter::scratch_words(model.input_shape()),
            row_bytes,
            ops: model.graph().ops.len(),
            kinds: kinds_of(&model),
            classes: classes.map_err(|error| error.to_string())?,
            led_label: model.label(led_class).unwrap_or("").to_owned(),
            led_class,
            slots: None,
            rest: Rest::default(),
        })
    }

    /// The same for a firmware that takes other models: with memory and kernels for them.
    pub fn with_slots(self, slots: Slots) -> Self {
        Self {
            arena_bytes: self.arena_bytes.max(slots.arena_bytes),
            scratch_words: self.scratch_words.max(3 * INPUT_ROW_VALUES),
            classes: self.classes.max(CLASSES),
            kinds: EVERY_KIND,
            slots: Some(slots),
            ..self
        }
    }
}

impl Config {
    /// The same for a firmware that sleeps between frames.
    pub fn with_rest(self, rest: Rest) -> Self {
        Self { rest, ..self }
    }
}

impl Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |doc: &str, name: &str, kind: &str, value: &dyn Display| {
            writeln!(f, "/// {doc}.\npub const {name}: {kind} = {value};")
        };
        line("Bytes of the model file", "MODEL_BYTES", "usize", &self.model_bytes)?;
        line("Bytes of the model's working memory", "ARENA_BYTES", "usize", &self.arena_bytes)?;
        line("Words of the frame converter's memory", "SCRATCH_WORDS", "usize", &self.scratch_words)?;
        line("Bytes of the longest camera row", "ROW_BYTES", "usize", &self.row_bytes)?;
        line("Operators of the model", "OPS", "usize", &self.ops)?;
        line("Scores of the model's output", "CLASSES", "usize", &self.classes)?;
        line("The class that lights the board's LED", "LED_CLASS", "usize", &self.led_class)?;
        line(
            "The kernels that the model needs (`ocelli::runtime::kinds_of`)",
            "KINDS",
            "u32",
            &format!("{:#b}", self.kinds),
        )?;
        line("The label of that class", "LED_LABEL", "&str", &format!("{:?}", self.led_label))?;
        line("Milliseconds between turns, or 0", "EVERY_MS", "u32", &self.rest.every_ms)?;
        line("Whether a pin wakes the board", "WAKES_BY_PIN", "bool", &self.rest.by_pin)?;
        let Some(Slots { first, slot_bytes, .. }) = self.slots else { return Ok(()) };
        line("Offset of the slots in the flash memory", "SLOTS_FIRST", "u32", &first)?;
        line("Bytes of a slot", "SLOT_BYTES", "u32", &slot_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(label: Option<&str>) -> Result<Config, String> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/mnist-cnn/model.ocelli");
        Config::of(&std::fs::read(path).unwrap(), 640, label)
    }

    #[test]
    fn the_constants_are_those_of_the_model() {
        let text = digits(Some("7")).unwrap().to_string();
        for line in [
            "MODEL_BYTES: usize = 36764;",
            "ROW_BYTES: usize = 640;",
            "CLASSES: usize = 10;",
            "LED_CLASS: usize = 7;",
            "SCRATCH_WORDS: usize = 84;",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let text = digits(None).unwrap().to_string();
        assert!(text.contains("LED_CLASS: usize = 0;") && text.contains("EVERY_MS: u32 = 0;"), "{text}");
        let text = digits(None).unwrap().with_rest(Rest { every_ms: 10_000, by_pin: true }).to_string();
        assert!(text.contains("EVERY_MS: u32 = 10000;") && text.contains("WAKES_BY_PIN: bool = true;"), "{text}");
    }

    #[test]
    fn a_firmware_that_takes_models_has_room_for_others() {
        let slots = Slots { first: 1 << 20, slot_bytes: 1 << 19, arena_bytes: 100_000 };
        let text = digits(Some("7")).unwrap().with_slots(slots).to_string();
        for line in [
            "ARENA_BYTES: usize = 100000;",
            "SCRATCH_WORDS: usize = 1440;",
            "CLASSES: usize = 128;",
            "KINDS: u32 = 0b11111111111111111111111111111111;",
            "LED_LABEL: &str = \"7\";",
            "SLOTS_FIRST: u32 = 1048576;",
            "SLOT_BYTES: u32 = 524288;",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let own = digits(None).unwrap();
        assert!(!own.to_string().contains("SLOT"));
        let small = own.clone().with_slots(Slots { arena_bytes: 0, ..slots });
        assert_eq!(small.arena_bytes, own.arena_bytes, "the built-in model runs in any case");
    }

    #[test]
    fn an_unknown_label_and_a_damaged_model_are_refused() {
        let refusal = digits(Some("cat")).unwrap_err();
        assert!(refusal.starts_with("OCELLI_LED_LABEL=cat: the model has no such label; it has 0, 1,"), "{refusal}");
        assert!(Config::of(b"OCEL", 640, None).is_err());
    }
}
