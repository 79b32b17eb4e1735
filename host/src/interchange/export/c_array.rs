//! A file as the text of a C or C++ source, for firmware that is built without a file system.

use anyhow::ensure;
use ocelli::model::crc32;
use std::fmt::Write as _;

/// Bytes in a line.
const PER_LINE: usize = 16;
/// Words that no array can be named by, in C or C++, and that a file's name may well be.
const KEYWORDS: [&str; 24] = [
    "auto", "bool", "break", "case", "char", "class", "const", "continue", "default", "double", "else", "enum",
    "float", "for", "if", "int", "long", "new", "return", "short", "static", "switch", "union", "void",
];

/// The source that defines `name` and `name_len`; `what` says what it is, for a comment.
///
/// # Errors
/// When `name` is no name in C.
pub fn c_array(name: &str, what: &str, bytes: &[u8]) -> anyhow::Result<String> {
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let good = !name.is_empty() && name.chars().all(letters) && !name.starts_with(|c: char| c.is_ascii_digit());
    ensure!(good && !KEYWORDS.contains(&name), "'{name}' is no name in C: letters, digits and _, no digit first");
    let (len, crc) = (bytes.len(), crc32(bytes));
    // neither the end of the comment nor a line of its own may come from outside
    let what: String = what.chars().filter(|c| !c.is_control()).collect::<String>().replace("*/", "* /");
    let mut text = format!(
        "/* {what}, {len} bytes, CRC-32 {crc:#010x}; written by Ocelli {version}.\n   Compile it, or include it in one file; elsewhere the \
         two lines that begin with `extern` will do. */\n\
         #ifndef __cplusplus\n#include <stdalign.h>\n#else\nextern \"C\" {{\n#endif\n\n\
         extern const unsigned char {name}[{len}];\nextern const unsigned int {name}_len;\n\n\
         alignas(16) const unsigned char {name}[{len}] = {{\n",
        version = env!("CARGO_PKG_VERSION"),
    );
    text.reserve(bytes.len() * 6);
    for line in bytes.chunks(PER_LINE) {
        text.push_str("   ");
        for byte in line {
            let _ = write!(text, " {byte:#04x},"); // a text never fails
        }
        text.push('\n');
    }
    let _ = write!(text, "}};\nconst unsigned int {name}_len = {len};\n\n#ifdef __cplusplus\n}}\n#endif\n");
    Ok(text)
}

/// The nearest name in C to any other.
#[must_use]
pub fn c_name(name: &str) -> String {
    let letters = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    let first = if name.starts_with(|c: char| c.is_ascii_digit()) { "model_" } else { "" };
    first.chars().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_held_to_c() {
        for name in ["", "1st", "mnist-cnn", "a b", "float", "größe"] {
            assert!(c_array(name, "a file", &[1]).is_err(), "{name}");
        }
        for (name, expected) in [("mnist-cnn", "mnist_cnn"), ("1st.model", "model_1st_model"), ("ocellus", "ocellus")] {
            assert_eq!(c_name(name), expected);
            c_array(&c_name(name), "a file", &[1]).unwrap();
        }
    }

    #[test]
    fn a_comment_cannot_be_left() {
        let text = c_array("x", "evil */ int main\n#error", &[1]).unwrap();
        let first = text.lines().next().unwrap();
        assert!(first.starts_with("/* evil * / int main#error, 1 bytes, CRC-32 0xa505df1b;"), "{first}");
    }
}
