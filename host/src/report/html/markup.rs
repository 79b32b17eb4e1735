//! Pieces of a page. Whatever comes from a file is escaped here, and nowhere else.

use crate::report::words::percent;
use std::fmt::Write;

/// Tables of more rows than this scroll in a window of their own.
const TALL: usize = 40;

/// Text as it may stand between tags and in a quoted attribute.
///
/// # Source
/// WHATWG HTML, section 13.1.2 (attributes) and 13.3 (escaping a string).
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // direction marks could turn the text around them; control characters are no text
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => safe.push('\u{fffd}'),
            letter if letter.is_control() && letter != '\n' && letter != '\t' => safe.push('\u{fffd}'),
            letter => safe.push(letter),
        }
    }
    safe
}

/// A cell of a table, escaped when it is made.
#[derive(Clone, Debug)]
pub struct Cell {
    class: &'static str,
    style: String,
    html: String,
    head: bool,
}

impl Cell {
    /// Text.
    pub fn text(text: &str) -> Self {
        Self { class: "", style: String::new(), html: escape(text), head: false }
    }

    /// Text that may break into lines.
    pub fn long(text: &str) -> Self {
        Self { class: "text", ..Self::text(text) }
    }

    /// A number, to the right.
    pub fn number(text: &str) -> Self {
        Self { class: "n", ..Self::text(text) }
    }

    /// A number over a bar that fills `share` of the cell.
    pub fn bar(text: &str, share: f64) -> Self {
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        Self { class: "n bar", style: format!("--s:{share:.3}"), ..Self::text(text) }
    }

    /// A share, over a bar as long as what it lacks to 1 is of `most`.
    pub fn lack(share: f64, most: f64) -> Self {
        Self { class: "n bar lack", ..Self::bar(&percent(share), if most > 0.0 { (1.0 - share) / most } else { 0.0 }) }
    }

    /// The name of a row.
    pub fn head(text: &str) -> Self {
        Self { head: true, ..Self::text(text) }
    }

    /// The same with a class.
    pub fn with_class(mut self, class: &'static str) -> Self {
        self.class = class;
        self
    }

    fn write(&self, html: &mut String) {
        let tag = if self.head { "th" } else { "td" };
        let scope = if self.head { " scope=\"row\"" } else { "" };
        let class = if self.class.is_empty() { String::new() } else { format!(" class=\"{}\"", self.class) };
        let style = if self.style.is_empty() { String::new() } else { format!(" style=\"{}\"", self.style) };
        let _ = write!(html, "<{tag}{scope}{class}{style}>{}</{tag}>", self.html);
    }
}

/// A table as wide as the page; `name` says what it is to a screen reader. Columns from `right` on are numbers.
pub fn table(name: &str, header: &[&str], right: usize, rows: &[Vec<Cell>], foot: Option<&[Cell]>) -> String {
    let tall = if rows.len() > TALL { " tall" } else { "" };
    let mut html = format!(
        "<div class=\"scroll{tall}\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table class=\"wide\"><thead><tr>",
        escape(name)
    );
    for (column, title) in header.iter().enumerate() {
        let class = if column >= right { " class=\"n\"" } else { "" };
        let _ = write!(html, "<th scope=\"col\"{class}>{}</th>", escape(title));
    }
    html.push_str("</tr></thead><tbody>");
    for row in rows {
        html.push_str("<tr>");
        row.iter().for_each(|cell| cell.write(&mut html));
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>");
    if let Some(foot) = foot {
        html.push_str("<tfoot><tr>");
        foot.iter().for_each(|cell| cell.write(&mut html));
        html.push_str("</tr></tfoot>");
    }
    html.push_str("</table></div>\n");
    html
}

/// Names and values below each other.
pub fn facts(rows: &[(&str, String)]) -> String {
    let mut html = String::from("<table class=\"facts\"><tbody>");
    for (name, value) in rows {
        let _ = writeln!(html, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", escape(name), escape(value));
    }
    html + "</tbody></table>\n"
}

/// A part of the page; `body` is markup.
pub fn section(id: &str, title: &str, body: &str) -> String {
    format!("<section id=\"{id}\"><h2>{}</h2>\n{body}</section>\n", escape(title))
}

/// What stands where nothing was measured: the command that measures.
pub fn not_measured(command: &str) -> String {
    format!("<p class=\"note\">Not measured. To measure: <code>{}</code></p>\n", escape(command))
}

/// Text of a file, folded away.
pub fn file(name: &str, text: &str) -> String {
    format!(
        "<details><summary>{}</summary><pre tabindex=\"0\"><code>{}</code></pre></details>\n",
        escape(name),
        escape(text)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_escaped_can_end_a_text_or_an_attribute() {
        let hostile = "</td><script>alert('1')</script> \" onerror=x & \u{202e}\0";
        let safe = escape(hostile);
        assert!(!safe.contains(['<', '>', '"', '\'']), "{safe}");
        assert!(!safe.contains(['\u{202e}', '\0']), "{safe}");
        assert_eq!(escape("a & b"), "a &amp; b");
        assert_eq!(escape("naïve 猫"), "naïve 猫");
    }

    #[test]
    fn a_bar_is_never_longer_than_its_cell() {
        for (share, expected) in [(0.25, "--s:0.250"), (7.0, "--s:1.000"), (-1.0, "--s:0.000"), (f64::NAN, "--s:0.000")]
        {
            let mut html = String::new();
            Cell::bar("1", share).write(&mut html);
            assert!(html.contains(expected), "{html}");
        }
    }
}
