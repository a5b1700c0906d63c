//! Numbers, texts and bytes as JSON.

use super::JsonError;
use super::message::Printer;
use crate::schema::Type;
use crate::wire::{Content, WireError};

impl Printer<'_> {
    /// Everything but messages and enums. Content of another wire type than `kind` has was sorted out before.
    pub(super) fn scalar(&mut self, kind: Type, content: Content<'_>) -> Result<(), JsonError> {
        match content {
            Content::Bytes(bytes) if kind == Type::Bytes => self.base64(bytes),
            Content::Bytes(bytes) => self.text(std::str::from_utf8(bytes).map_err(|_| WireError::Utf8)?),
            Content::Fixed32(bits) if kind == Type::Float => {
                let value = f32::from_bits(bits);
                self.float(f64::from(value), format_args!("{value:e}"));
            }
            Content::Fixed64(bits) if kind == Type::Double => {
                let value = f64::from_bits(bits);
                self.float(value, format_args!("{value:e}"));
            }
            Content::Fixed32(bits) if kind == Type::Sfixed32 => self.signed(i64::from(bits as i32)),
            Content::Fixed32(bits) => self.unsigned(u64::from(bits)),
            Content::Fixed64(bits) if kind == Type::Sfixed64 => self.quoted(|p| p.signed(bits as i64)),
            Content::Fixed64(bits) => self.quoted(|p| p.unsigned(bits)),
            Content::Varint(number) => match kind {
                Type::Bool => self.out.extend_from_slice(if number != 0 { b"true" } else { b"false" }),
                Type::Int32 => self.signed(i64::from(number as i32)),
                Type::Uint32 => self.unsigned(u64::from(number as u32)),
                Type::Sint32 => self.signed(i64::from(zigzag(u64::from(number as u32)) as i32)),
                Type::Int64 => self.quoted(|p| p.signed(number as i64)),
                Type::Sint64 => self.quoted(|p| p.signed(zigzag(number))),
                _ => self.quoted(|p| p.unsigned(number)),
            },
        }
        Ok(())
    }

    pub(super) fn quoted(&mut self, print: impl FnOnce(&mut Self)) {
        self.out.push(b'"');
        print(self);
        self.out.push(b'"');
    }

    pub(super) fn unsigned(&mut self, mut value: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.out.extend_from_slice(&digits[at..]);
    }

    pub(super) fn signed(&mut self, value: i64) {
        if value < 0 {
            self.out.push(b'-');
        }
        self.unsigned(value.unsigned_abs());
    }

    /// A quoted text. Beyond what JSON needs, `<`, `>`, `&` and the two Unicode line ends are escaped.
    pub(super) fn text(&mut self, text: &str) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        self.out.push(b'"');
        let bytes = text.as_bytes();
        let mut copied = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            let unicode;
            let (escape, len): (&[u8], usize) = match byte {
                b'"' => (b"\\\"", 1),
                b'\\' => (b"\\\\", 1),
                b'\n' => (b"\\n", 1),
                b'\r' => (b"\\r", 1),
                b'\t' => (b"\\t", 1),
                0x08 => (b"\\b", 1),
                0x0c => (b"\\f", 1),
                0..0x20 | b'<' | b'>' | b'&' => {
                    unicode =
                        [b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                    (&unicode, 1)
                }
                // U+2028 and U+2029 are E2 80 A8 and E2 80 A9.
                0xe2 if bytes[at..].starts_with(b"\xe2\x80\xa8") => (b"\\u2028", 3),
                0xe2 if bytes[at..].starts_with(b"\xe2\x80\xa9") => (b"\\u2029", 3),
                _ => continue,
            };
            self.out.extend_from_slice(&bytes[copied..at]);
            self.out.extend_from_slice(escape);
            copied = at + len;
        }
        self.out.extend_from_slice(&bytes[copied..]);
        self.out.push(b'"');
    }

    /// RFC 4648 section 4, padded.
    pub(super) fn base64(&mut self, bytes: &[u8]) {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        self.out.push(b'"');
        for chunk in bytes.chunks(3) {
            let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for at in 0..4 {
                let sextet = (bits >> (18 - 6 * at)) as usize & 63;
                self.out.push(if at <= chunk.len() { ALPHABET[sextet] } else { b'=' });
            }
        }
        self.out.push(b'"');
    }

    /// `scientific` is the shortest text that reads back as the value: digits, "e", exponent. From
    /// 1e21 up and below 1e-6 it is printed so, else as a plain decimal.
    fn float(&mut self, value: f64, scientific: std::fmt::Arguments<'_>) {
        if !value.is_finite() {
            let name = if value.is_nan() {
                "NaN"
            } else if value > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            };
            return self.text(name);
        }
        let text = scientific.to_string();
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        if let Some(positive) = mantissa.strip_prefix('-') {
            self.out.push(b'-');
            return self.decimal(positive, exponent);
        }
        self.decimal(mantissa, exponent);
    }

    fn decimal(&mut self, mantissa: &str, exponent: i32) {
        let digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
        if !(-6..21).contains(&exponent) {
            self.out.extend_from_slice(mantissa.as_bytes());
            self.out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
            // A negative exponent of one digit stays so; the smallest positive one printed is 21.
            return self.unsigned(u64::from(exponent.unsigned_abs()));
        }
        let Ok(point) = usize::try_from(exponent + 1) else {
            self.out.extend_from_slice(b"0.");
            self.out.extend(std::iter::repeat_n(b'0', (-exponent - 1) as usize));
            return self.out.extend_from_slice(&digits);
        };
        if point == 0 {
            self.out.extend_from_slice(b"0.");
            return self.out.extend_from_slice(&digits);
        }
        self.out.extend((0..point).map(|at| digits.get(at).copied().unwrap_or(b'0')));
        if digits.len() > point {
            self.out.push(b'.');
            self.out.extend_from_slice(&digits[point..]);
        }
    }
}

/// `sint32` and `sint64`: the sign is the lowest bit.
fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;

    fn printed(print: impl FnOnce(&mut Printer<'_>)) -> String {
        let mut out = Vec::new();
        print(&mut Printer { schema: Schema::get(), out: &mut out });
        String::from_utf8(out).unwrap()
    }

    fn double(value: f64) -> String {
        printed(|p| p.scalar(Type::Double, Content::Fixed64(value.to_bits())).unwrap())
    }

    #[test]
    fn floats_are_printed_as_javascript_prints_them() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (23.46, "23.46"),
            (0.1, "0.1"),
            (0.000_001, "0.000001"),
            (0.000_000_1, "1e-7"),
            (1.5e-10, "1.5e-10"),
            (100.0, "100"),
            (123_456_789.125, "123456789.125"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.25e300, "1.25e+300"),
        ];
        for (value, text) in cases {
            assert_eq!(double(value), text);
        }
        assert_eq!([double(f64::NAN), double(f64::NEG_INFINITY)], ["\"NaN\"", "\"-Infinity\""]);
    }

    #[test]
    fn texts_are_escaped_for_json_and_html() {
        let text = "a\"\\\n\r\t\u{8}\u{c}\u{1}\u{1f}\u{7f}<b>&\u{2028}\u{2029}é\u{2030}😀";
        let expected =
            "\"a\\\"\\\\\\n\\r\\t\\b\\f\\u0001\\u001f\u{7f}\\u003cb\\u003e\\u0026\\u2028\\u2029é\u{2030}😀\"";
        assert_eq!(printed(|p| p.text(text)), expected);
        assert_eq!(serde_json::from_str::<String>(expected).unwrap(), text);
    }

    #[test]
    fn bytes_are_padded_base64() {
        let base64 = |bytes: &[u8]| printed(|p| p.base64(bytes));
        assert_eq!(
            [base64(b""), base64(b"f"), base64(b"fo"), base64(b"foo")],
            ["\"\"", "\"Zg==\"", "\"Zm8=\"", "\"Zm9v\""]
        );
        assert_eq!(base64(&[0xfb, 0xff]), "\"+/8=\"");
    }

    #[test]
    fn signed_numbers_of_every_encoding_are_read() {
        let varint = |kind, value| printed(|p| p.scalar(kind, Content::Varint(value)).unwrap());
        assert_eq!(varint(Type::Sint32, 3), "-2");
        assert_eq!(varint(Type::Sint64, u64::MAX), "\"-9223372036854775808\"");
        assert_eq!(varint(Type::Int32, u64::MAX), "-1");
        assert_eq!(varint(Type::Uint64, u64::MAX), "\"18446744073709551615\"");
    }
}
