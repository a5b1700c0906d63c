//! What is done to manifests: by bytes, by lines, and by words that mean something.

/// xorshift64*: good enough to pick with, the same everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { (self.next() >> 16) as usize % limit }
    }

    pub fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

/// Words that parsers and converters treat in a way of their own.
const WORDS: [&str; 48] = [
    "null",
    "~",
    "true",
    "no",
    "0",
    "-1",
    "65535",
    "65536",
    "2147483648",
    "9223372036854775808",
    "1e400",
    ".nan",
    "0x10",
    "''",
    "\"\"",
    "\"\\0\"",
    "[]",
    "{}",
    "[[]]",
    "{a: {b: [c]}}",
    "*a",
    "&a x",
    "<<: *a",
    "!!binary aGk=",
    "!!int x",
    "|",
    ">-",
    "'",
    "\"",
    "- ",
    "? ",
    ": ",
    "#",
    "%YAML 1.2",
    "...",
    "---",
    "In",
    "NotIn",
    "Exists",
    "TCP",
    "SCTP",
    "QUIC",
    "0.0.0.0/0",
    "::/0",
    "10.0.0.1/33",
    "::ffff:10.0.0.0/104",
    "\u{feff}",
    "\t",
];

/// One manifest: a few seeds, a few changes.
pub fn manifest(seeds: &[&str], random: &mut Random) -> String {
    let mut text = (0..=random.below(3)).map(|_| random.pick(seeds)).collect::<Vec<_>>().join("---\n");
    for _ in 0..random.below(6) {
        text = match random.below(9) {
            0 => bytes(&text, random),
            1 => word(&text, random),
            2 => value(&text, random),
            3 => line(&text, random, |lines, at, _| drop(lines.remove(at))),
            4 => line(&text, random, |lines, at, random| {
                let to = random.below(lines.len());
                lines.swap(at, to);
            }),
            5 => line(&text, random, |lines, at, random| {
                let indent = " ".repeat(random.below(9));
                lines[at] = format!("{indent}{}", lines[at].trim_start());
            }),
            6 => line(&text, random, |lines, at, _| lines.insert(at, lines[at].clone())),
            7 => misspelt(&text, random).unwrap_or_default(),
            _ => cut(&text, random),
        };
    }
    text
}

fn boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn bytes(text: &str, random: &mut Random) -> String {
    let mut bytes = text.as_bytes().to_vec();
    if let Some(byte) = bytes.get_mut(random.below(text.len())) {
        *byte = random.next() as u8;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn word(text: &str, random: &mut Random) -> String {
    let at = boundary(text, random.below(text.len() + 1));
    format!("{}{}{}", &text[..at], random.pick(&WORDS), &text[at..])
}

/// Replaces what follows a colon.
fn value(text: &str, random: &mut Random) -> String {
    line(text, random, |lines, at, random| {
        if let Some((key, _)) = lines[at].split_once(':') {
            lines[at] = format!("{key}: {}", random.pick(&WORDS));
        }
    })
}

fn line(
    text: &str,
    random: &mut Random,
    change: impl FnOnce(&mut Vec<String>, usize, &mut Random),
) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if !lines.is_empty() {
        let at = random.below(lines.len());
        change(&mut lines, at, random);
    }
    lines.join("\n") + "\n"
}

fn cut(text: &str, random: &mut Random) -> String {
    text[..boundary(text, random.below(text.len() + 1))].to_owned()
}

/// Changes one letter of a field's name, takes it out or doubles it; names that authors make up (labels,
/// their values) are left alone.
pub fn misspelt(text: &str, random: &mut Random) -> Option<String> {
    const FIELDS: [&str; 22] = [
        "apiVersion",
        "kind",
        "metadata",
        "name",
        "namespace",
        "spec",
        "podSelector",
        "namespaceSelector",
        "matchLabels",
        "matchExpressions",
        "operator",
        "values",
        "policyTypes",
        "ingress",
        "egress",
        "from",
        "to",
        "ports",
        "port",
        "endPort",
        "ipBlock",
        "except",
    ];
    let field = random.pick(&FIELDS);
    let is_name_part = |c: char| c.is_ascii_alphanumeric();
    let places: Vec<usize> = text
        .match_indices(&format!("{field}:"))
        .map(|(at, _)| at)
        .filter(|at| !text[..*at].ends_with(is_name_part))
        .collect();
    let at = *places.get(random.below(places.len()))? + random.below(field.len());
    let letter = &text[at..=at];
    let other = match random.below(3) {
        0 => String::new(),
        1 => letter.repeat(2),
        _ => char::from(b'a' + random.below(26) as u8).to_string(),
    };
    (other != letter).then(|| format!("{}{other}{}", &text[..at], &text[at + 1..]))
}
