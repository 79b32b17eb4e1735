//! A check as rows of a table.

use super::{CheckReport, DeviceOutcome, FLOAT_TOLERANCE, STEP_TOLERANCE};
use serde::Serialize;

/// What became of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Within its tolerance.
    Ok,
    /// Not within its tolerance.
    Failed,
    /// Not run.
    NotRun,
    /// For information; it has no tolerance.
    Info,
}

impl Status {
    /// The word in the table.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "FAILED",
            Self::NotRun => "not run",
            Self::Info => "",
        }
    }

    const fn of(ok: bool) -> Self {
        if ok { Self::Ok } else { Self::Failed }
    }
}

/// A line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was compared.
    pub what: String,
    /// What was found.
    pub found: String,
    /// What is allowed.
    pub allowed: String,
    /// The outcome.
    pub status: Status,
}

impl CheckReport {
    /// The table's lines.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let row =
            |what: &str, found: String, allowed: String, status| Row { what: what.to_owned(), found, allowed, status };
        let mut rows = vec![
            row(
                "float logits, Burn vs tract",
                format!("largest difference {:.1e}", self.float.max_difference),
                format!("{FLOAT_TOLERANCE:.0e}"),
                Status::of(self.float.max_difference <= FLOAT_TOLERANCE),
            ),
            row(
                "float probabilities, Burn vs tract",
                format!("largest difference {:.1e}", self.float.max_probability_difference),
                format!("{FLOAT_TOLERANCE:.0e}"),
                Status::of(self.float.max_probability_difference <= FLOAT_TOLERANCE),
            ),
            row(
                "labels and normalization, model.onnx",
                self.float.metadata.clone().unwrap_or_else(|| "identical".to_owned()),
                "identical".to_owned(),
                Status::of(self.float.metadata.is_none()),
            ),
            row(
                "weights, quantized network vs float",
                self.constants.quantized.clone().unwrap_or_else(|| match self.constants.fitted {
                    true => "each the float one rounded up or down".to_owned(),
                    false => "each the float one rounded".to_owned(),
                }),
                if self.constants.fitted { "1 step" } else { "1/2 step" }.to_owned(),
                Status::of(self.constants.quantized.is_none()),
            ),
            row(
                "constants, model file vs quantized network",
                self.constants.compiled.clone().unwrap_or_else(|| "identical".to_owned()),
                "identical".to_owned(),
                Status::of(self.constants.compiled.is_none()),
            ),
        ];
        for layer in &self.layers {
            let alone = if layer.differs_in_place { "; not what the whole network computes" } else { "" };
            let with =
                if layer.with.is_empty() { String::new() } else { format!(" with {} fused in", layer.with.join(", ")) };
            rows.push(row(
                &format!("layer {}, runtime vs tract{with}", layer.name),
                format!("{}, {} of {} values differ{alone}", steps(layer.max_steps), layer.differing, layer.values),
                steps(layer.allowed),
                Status::of(layer.max_steps <= layer.allowed && !layer.differs_in_place),
            ));
        }
        rows.push(row(
            "float ends of model.qdq.onnx",
            self.network.ends.clone().unwrap_or_else(|| "as the model's pixel table and scores".to_owned()),
            format!("{STEP_TOLERANCE} step"),
            Status::of(self.network.ends.is_none()),
        ));
        rows.push(row(
            "whole int8 network, runtime vs tract",
            format!("{:.2} % same class, {} of 1/256", 100.0 * self.network.agreement, steps(self.network.max_steps)),
            String::new(),
            Status::Info,
        ));
        rows.extend(self.device.as_ref().map(device_row));
        rows
    }
}

fn steps(count: u32) -> String {
    if count == 1 { "1 step".to_owned() } else { format!("{count} steps") }
}

fn device_row(device: &DeviceOutcome) -> Row {
    let allowed = "identical".to_owned();
    match device {
        DeviceOutcome::NotRun(reason) => {
            let what = "device vs host".to_owned();
            Row { what, found: reason.clone(), allowed, status: Status::NotRun }
        }
        DeviceOutcome::Ran(check) => Row {
            what: format!("{} vs host, {} images", check.board, check.images.len()),
            found: match &check.first_difference {
                None => format!("all {} output bytes identical", check.bytes),
                Some(first) => format!("{} of {} bytes differ; {first}", check.differing_bytes, check.bytes),
            },
            allowed,
            status: Status::of(check.differing_bytes == 0),
        },
    }
}
