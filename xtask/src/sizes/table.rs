//! The table of sizes as text, and what has grown.

use anyhow::{Context, Result, ensure};

/// Growth that is let pass, in percent.
const ALLOWED_PERCENT: u64 = 3;

/// Above the table's rows.
const HEAD: &str = "# Sizes

What every model takes on every emulated board. Bytes of flash: the benchmark's program without the model (`code`), the model file
(`model`). Bytes of RAM: what a session holds (`arena`), the deepest stack while it loads and runs. Instructions of an inference (of QEMU,
not cycles). `cargo xtask sizes --write` makes this table; CI runs `cargo xtask sizes --check`, which fails when a figure has grown by more
than 3 %. `-`: the model does not fit the board.

| model | board | code | model | arena | stack | instructions |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
";

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The model's path in the repository.
    pub model: String,
    /// The board's name.
    pub board: String,
    /// The figures; `None` when the model does not fit.
    pub sizes: Option<Sizes>,
}

/// The figures of a model on a board; sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Flash of everything but the model.
    pub code: u64,
    /// Flash of the model.
    pub model: u64,
    /// RAM of a session.
    pub arena: u64,
    /// Deepest stack.
    pub stack: u64,
    /// Instructions of an inference.
    pub instructions: u64,
}

impl Sizes {
    const NAMES: [&str; 5] = ["code", "model", "arena", "stack", "instructions"];

    const fn values(&self) -> [u64; 5] {
        [self.code, self.model, self.arena, self.stack, self.instructions]
    }
}

/// The table as it is committed.
pub fn to_text(rows: &[Row]) -> String {
    let mut text = HEAD.to_owned();
    for Row { model, board, sizes } in rows {
        let cells = sizes.map_or_else(
            || std::array::from_fn(|_| "-".to_owned()),
            |sizes: Sizes| sizes.values().map(|value| value.to_string()),
        );
        text += &format!("| {model} | {board} | {} |\n", cells.join(" | "));
    }
    text
}

/// Reads a table.
///
/// # Errors
/// When a row is not one.
pub fn parse(text: &str) -> Result<Vec<Row>> {
    let lines = text.lines().filter(|line| line.starts_with('|')).skip(2); // the names and the rule
    lines.map(|line| row(line).with_context(|| format!("not a row of sizes: {line}"))).collect()
}

fn row(line: &str) -> Result<Row> {
    let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
    let (names, values) = cells.split_at_checked(2).context("too few cells")?;
    let sizes = if values == ["-"; 5] {
        None
    } else {
        let values: Vec<u64> = values.iter().map(|value| value.parse()).collect::<Result<_, _>>()?;
        ensure!(values.len() == 5, "{} figures", values.len());
        Some(Sizes { code: values[0], model: values[1], arena: values[2], stack: values[3], instructions: values[4] })
    };
    Ok(Row { model: names[0].to_owned(), board: names[1].to_owned(), sizes })
}

/// What of the measured sizes the committed table does not allow, a line each; empty when all is well.
pub fn compare(committed: &[Row], measured: &[Row]) -> Vec<String> {
    let same = |a: &Row, b: &Row| a.model == b.model && a.board == b.board;
    let mut problems = Vec::new();
    for new in measured {
        let what = format!("{} on {}", new.model, new.board);
        match (committed.iter().find(|old| same(old, new)).map(|old| old.sizes), new.sizes) {
            (None, _) => problems.push(format!("{what}: not in the table")),
            (Some(Some(_)), None) => problems.push(format!("{what}: no longer fits")),
            (Some(None), _) => {}
            (Some(Some(old)), Some(new)) => {
                for ((name, old), new) in Sizes::NAMES.iter().zip(old.values()).zip(new.values()) {
                    if new * 100 > old * (100 + ALLOWED_PERCENT) {
                        problems.push(format!("{what}: {name} grown from {old} to {new}"));
                    }
                }
            }
        }
    }
    let gone = committed.iter().filter(|old| !measured.iter().any(|new| old.model == new.model));
    problems
        .extend(gone.map(|old| format!("{} on {}: in the table, but there is no such model", old.model, old.board)));
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(model: &str, values: [u64; 5]) -> Row {
        let [code, model_bytes, arena, stack, instructions] = values;
        let sizes = Some(Sizes { code, model: model_bytes, arena, stack, instructions });
        Row { model: model.to_owned(), board: "qemu-m4".to_owned(), sizes }
    }

    fn does_not_fit(model: &str) -> Row {
        Row { model: model.to_owned(), board: "qemu-m4".to_owned(), sizes: None }
    }

    #[test]
    fn a_table_survives_the_round_trip() {
        let rows = [fits("a", [1, 20, 300, 4_000, 50_000]), does_not_fit("b")];
        assert_eq!(parse(&to_text(&rows)).unwrap(), rows);
        assert_eq!(parse(&to_text(&[])).unwrap(), []);
    }

    #[test]
    fn a_row_that_is_none_is_refused() {
        for line in ["| a |", "| a | b | 1 | 2 | 3 |", "| a | b | 1 | 2 | 3 | 4 | x |", "| a | b | - | 2 | 3 | 4 | 5 |"]
        {
            let text = format!("{HEAD}{line}\n");
            assert!(format!("{:#}", parse(&text).unwrap_err()).contains(line));
        }
    }

    #[test]
    fn three_percent_pass_and_more_does_not() {
        let old = [fits("a", [1_000, 2_000, 300, 700, 9_000])];
        assert_eq!(compare(&old, &[fits("a", [1_030, 1, 309, 721, 9_270])]), [""; 0]);
        assert_eq!(
            compare(&old, &[fits("a", [1_031, 2_000, 300, 722, 9_271])]),
            [
                "a on qemu-m4: code grown from 1000 to 1031",
                "a on qemu-m4: stack grown from 700 to 722",
                "a on qemu-m4: instructions grown from 9000 to 9271"
            ]
        );
    }

    #[test]
    fn models_that_come_go_or_no_longer_fit_are_named() {
        let fit = fits("a", [1; 5]);
        assert_eq!(compare(std::slice::from_ref(&fit), &[does_not_fit("a")]), ["a on qemu-m4: no longer fits"]);
        assert_eq!(compare(&[does_not_fit("a")], std::slice::from_ref(&fit)), [""; 0], "better than it was");
        assert_eq!(compare(&[], std::slice::from_ref(&fit)), ["a on qemu-m4: not in the table"]);
        assert_eq!(compare(&[fit], &[]), ["a on qemu-m4: in the table, but there is no such model"]);
    }
}
