//! Takes typed values from an input, for targets that need more than one byte string.

/// The bytes of an input that have not been taken yet. When they run out, all values are zero or empty.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// Takes up to `length` bytes.
    pub fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Takes one byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    /// Takes a byte string with its length, up to 255, before it.
    pub fn sized(&mut self) -> &'a [u8] {
        let length = self.byte();
        self.bytes(length.into())
    }

    /// Takes a text with its length before it; invalid UTF-8 is replaced.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.sized()).into_owned()
    }

    /// Takes a 64-bit number.
    pub fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let taken = self.bytes(8);
        bytes[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(bytes)
    }

    /// Takes a floating-point number of any kind.
    pub fn float(&mut self) -> f64 {
        f64::from_bits(self.number())
    }

    /// Takes finite floating-point numbers until the input ends, or there are `most`.
    pub fn finite(&mut self, most: usize) -> Vec<f64> {
        let mut numbers = Vec::new();
        while !self.0.is_empty() && numbers.len() < most {
            numbers.extend(Some(self.float()).filter(|number| number.is_finite()));
        }
        numbers
    }
}
