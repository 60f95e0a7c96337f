//! How far a compressed message refers back: a small reader of RFC 1951, by its letter, that inflates nothing.

/// The largest distance in a compressed message whose tail is left out.
pub(super) fn furthest(compressed: &[u8]) -> usize {
    let mut bits = Bits {
        bytes: compressed,
        at: 0,
    };
    let mut furthest = 0;
    while bits.at + 3 <= compressed.len() * 8 {
        let last = bits.take(1);
        let (literals, distances) = match bits.take(2) {
            0 => {
                bits.at = bits.at.next_multiple_of(8);
                if bits.at / 8 + 4 > compressed.len() {
                    // The empty block whose end is left out.
                    return furthest;
                }
                let len = bits.take(16);
                bits.at += 16 + 8 * len;
                continue;
            }
            1 => {
                let lengths: Vec<usize> = (0..288)
                    .map(|symbol| match symbol {
                        0..144 => 8,
                        144..256 => 9,
                        256..280 => 7,
                        _ => 8,
                    })
                    .collect();
                (Code::new(&lengths), Code::new(&[5; 30]))
            }
            _ => {
                let (literal_count, distance_count) = (bits.take(5) + 257, bits.take(5) + 1);
                let mut lengths = [0; 19];
                for index in 0..bits.take(4) + 4 {
                    const ORDER: [usize; 19] = [
                        16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
                    ];
                    lengths[ORDER[index]] = bits.take(3);
                }
                let code = Code::new(&lengths);
                let mut lengths = Vec::new();
                while lengths.len() < literal_count + distance_count {
                    match code.read(&mut bits) {
                        16 => {
                            let last = *lengths.last().unwrap();
                            lengths.extend(vec![last; bits.take(2) + 3]);
                        }
                        17 => lengths.extend(vec![0; bits.take(3) + 3]),
                        18 => lengths.extend(vec![0; bits.take(7) + 11]),
                        length => lengths.push(length),
                    }
                }
                let (literals, distances) = lengths.split_at(literal_count);
                (Code::new(literals), Code::new(distances))
            }
        };
        loop {
            match literals.read(&mut bits) {
                0..256 => {}
                256 => break,
                length => {
                    let extra = match length {
                        285 | 257..265 => 0,
                        _ => (length - 261) / 4,
                    };
                    bits.take(extra);
                    let symbol = distances.read(&mut bits);
                    let extra = if symbol < 4 { 0 } else { symbol / 2 - 1 };
                    let base = match symbol {
                        0..4 => symbol + 1,
                        _ => ((2 + (symbol & 1)) << extra) + 1,
                    };
                    furthest = furthest.max(base + bits.take(extra));
                }
            }
        }
        if last == 1 {
            break;
        }
    }
    furthest
}

struct Bits<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> usize {
        let bit = |at: usize| usize::from(self.bytes[at / 8] >> (at % 8) & 1);
        let value = (0..count).map(|index| bit(self.at + index) << index).sum();
        self.at += count;
        value
    }
}

/// A prefix code: for each length its first code, how many there are, and their symbols in order.
struct Code {
    counts: [usize; 16],
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[usize]) -> Code {
        let mut counts = [0; 16];
        let mut symbols = Vec::new();
        for (length, count) in counts.iter_mut().enumerate().skip(1) {
            let of_this = (0..lengths.len()).filter(|&symbol| lengths[symbol] == length);
            let before = symbols.len();
            symbols.extend(of_this);
            *count = symbols.len() - before;
        }
        Code { counts, symbols }
    }

    fn read(&self, bits: &mut Bits<'_>) -> usize {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in &self.counts[1..] {
            code |= bits.take(1);
            if code < first + count {
                return self.symbols[index + code - first];
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        panic!("not a code")
    }
}
