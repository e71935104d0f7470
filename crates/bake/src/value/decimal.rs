//! Decimal digits of a number: all of them, or rounded to as many as are wanted.

use num_bigint::BigUint;

use super::Number;

/// Digits behind a decimal point, and where that point is: `digits` 1, 5 and `point` 2 are 15.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decimal {
    /// Without zeros at either end; empty for zero.
    digits: Vec<u8>,
    point: i64,
}

impl Decimal {
    /// Every digit of a number, without its sign. A fraction of two is one of ten, so there is an end to them.
    pub(crate) fn exact(number: &Number) -> Decimal {
        let (mantissa, exponent) = number.parts();
        let (whole, places) = if exponent >= 0 {
            (mantissa << exponent.unsigned_abs(), 0)
        } else {
            let fives = BigUint::from(5u8).pow(u32::try_from(exponent.unsigned_abs()).unwrap_or(u32::MAX));
            (mantissa * fives, exponent.unsigned_abs() as i64)
        };
        let digits = whole.to_string().into_bytes();
        let point = digits.len() as i64 - places;
        Decimal { digits, point }.trimmed()
    }

    /// The fewest digits that stand for the number alone, without its sign.
    pub(crate) fn shortest(number: &Number) -> Decimal {
        let text = number.absolute().to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        Decimal {
            digits: [whole, fraction].concat().into_bytes(),
            point: whole.len() as i64,
        }
        .trimmed()
    }

    fn trimmed(mut self) -> Decimal {
        while self.digits.last() == Some(&b'0') {
            self.digits.pop();
        }
        let zeros = self.digits.iter().take_while(|digit| **digit == b'0').count();
        self.digits.drain(..zeros);
        self.point -= zeros as i64;
        if self.digits.is_empty() {
            self.point = 0;
        }
        self
    }

    /// Rounded to so many digits, half to even.
    fn rounded(mut self, count: i64) -> Decimal {
        let Ok(count) = usize::try_from(count) else {
            return Decimal {
                digits: Vec::new(),
                point: 0,
            };
        };
        if count >= self.digits.len() {
            return self;
        }
        let half = self.digits[count] == b'5' && self.digits.len() == count + 1;
        let up = if half {
            count > 0 && self.digits[count - 1] % 2 == 1
        } else {
            self.digits[count] >= b'5'
        };
        self.digits.truncate(count);
        if up {
            while self.digits.last() == Some(&b'9') {
                self.digits.pop();
            }
            match self.digits.last_mut() {
                Some(last) => *last += 1,
                None => {
                    self.digits.push(b'1');
                    self.point += 1;
                }
            }
        }
        self.trimmed()
    }

    fn digit(&self, at: i64) -> char {
        let digit = usize::try_from(at).ok().and_then(|at| self.digits.get(at));
        digit.map_or('0', |digit| char::from(*digit))
    }

    /// `123.46`: so many digits behind the point.
    pub(crate) fn fixed(self, places: usize) -> String {
        let count = self.point.saturating_add(places as i64);
        self.rounded(count).written(places)
    }

    fn written(&self, places: usize) -> String {
        let mut text: String = (0..self.point).map(|at| self.digit(at)).collect();
        if text.is_empty() {
            text.push('0');
        }
        if places > 0 {
            text.push('.');
            text.extend((0..places as i64).map(|at| self.digit(self.point + at)));
        }
        text
    }

    /// `1.2346e+02`: so many digits behind the point, and an exponent of two digits at least.
    pub(crate) fn scientific(self, places: usize) -> String {
        self.rounded(places as i64 + 1).with_exponent(places)
    }

    fn with_exponent(&self, places: usize) -> String {
        let mut text = String::from(self.digit(0));
        if places > 0 {
            text.push('.');
            text.extend((1..=places as i64).map(|at| self.digit(at)));
        }
        let exponent = if self.digits.is_empty() { 0 } else { self.point - 1 };
        let sign = if exponent < 0 { '-' } else { '+' };
        text + &format!("e{sign}{:02}", exponent.abs())
    }

    /// The shorter form, as `%g` of C has it: with an exponent if that is below -4 or beyond the digits. Without a
    /// precision the fewest digits are taken, and six count as the bound.
    pub(crate) fn general(number: &Number, precision: Option<usize>) -> String {
        let (decimal, mut digits, bound) = match precision {
            None => {
                let decimal = Decimal::shortest(number);
                let digits = decimal.digits.len() as i64;
                (decimal, digits, 6)
            }
            Some(precision) => {
                let precision = precision.max(1) as i64;
                let decimal = Decimal::exact(number).rounded(precision);
                let count = decimal.digits.len() as i64;
                let bound = if precision > count && count >= decimal.point {
                    count
                } else {
                    precision
                };
                (decimal, precision, bound)
            }
        };
        let count = decimal.digits.len() as i64;
        let exponent = decimal.point - 1;
        if !decimal.digits.is_empty() && (exponent < -4 || exponent >= bound) {
            return decimal.with_exponent(usize::try_from(digits.min(count) - 1).unwrap_or(0));
        }
        if digits > decimal.point {
            digits = count;
        }
        decimal.written(usize::try_from(digits - decimal.point).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).expect("a number")
    }

    #[test]
    fn digits_are_exact_and_rounded_half_to_even() {
        for (text, places, fixed, scientific) in [
            ("0", 2, "0.00", "0.00e+00"),
            ("0.5", 0, "0", "5e-01"),
            ("1.5", 0, "2", "2e+00"),
            ("2.5", 0, "2", "2e+00"),
            ("9.996", 2, "10.00", "1.00e+01"),
            ("1234.5678", 2, "1234.57", "1.23e+03"),
            ("0.0004", 2, "0.00", "4.00e-04"),
            (
                "100000000000000000000000000000000000001",
                1,
                "100000000000000000000000000000000000001.0",
                "1.0e+38",
            ),
        ] {
            assert_eq!(Decimal::exact(&number(text)).fixed(places), fixed, "{text}");
            assert_eq!(Decimal::exact(&number(text)).scientific(places), scientific, "{text}");
        }
    }

    #[test]
    fn the_shorter_form_has_an_exponent_for_large_and_small() {
        for (text, precision, expected) in [
            ("0", None, "0"),
            ("1000", None, "1000"),
            ("100000", None, "100000"),
            ("1000000", None, "1e+06"),
            ("1234567", None, "1.234567e+06"),
            ("0.0001", None, "0.0001"),
            ("0.00001", None, "1e-05"),
            ("0.1", None, "0.1"),
            ("1234.5678", Some(6), "1234.57"),
            ("1234.5678", Some(2), "1.2e+03"),
            ("100", Some(3), "100"),
            ("1000", Some(3), "1e+03"),
            ("0.5", Some(0), "0.5"),
        ] {
            assert_eq!(
                Decimal::general(&number(text), precision),
                expected,
                "{text} {precision:?}"
            );
        }
    }
}
