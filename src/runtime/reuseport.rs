//! Placement by address inside the kernel: a filter on the reuse-port group that picks the
//! listener, and so the shard, of a connection.
#![allow(unsafe_code)]

use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;

use libc::sock_filter;

/// Knuth's multiplicative constant, shared with the user-space function
/// (`shardwire_shards::placement`).
const MULTIPLIER: u32 = 0x9E37_79B1;

/// `SKF_NET_OFF` of `linux/filter.h`: loads relative to it read the IP header.
const NETWORK_HEADER: u32 = -0x10_0000_i32 as u32;

/// Makes the kernel give every new connection to listener `ip_hash(peer ip) % count` of the group
/// `listener` belongs to, counted in the order in which they started to listen. Attach before
/// serving; members that join later are covered.
///
/// ```text
/// v4: h = ip * C                                  ip: the address as a big-endian number, all arithmetic in 32 bits
/// v6: h = w0 * C; h = (w ^ h) * C for w1, w2, w3  w0..w3: the address as four big-endian words
/// listener = (h >> 16) % count
/// ```
///
/// IPv4 clients of a dual-stack listener come in IPv4 packets: user space has to unmap
/// `::ffff:a.b.c.d` before it computes the same. Keep that check: if the group has fewer members
/// than `count` (one just closed), the kernel falls back to a hash of its own.
///
/// # Errors
/// `InvalidInput`: `count` is 0, or the listener shares no port. Anything else: the kernel refused
/// the filter; placement then needs hand-offs.
pub fn attach_ip_hash(listener: &TcpListener, count: usize) -> io::Result<()> {
    let count = u32::try_from(count)
        .ok()
        .filter(|count| *count > 0)
        .ok_or(io::ErrorKind::InvalidInput)?;
    let mut program = program(count);
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: option value and length describe one `sock_fprog`, which points to `len`
    // instructions; both live until the call returns, and the kernel copies them.
    let set = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if set == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The classic BPF program. A is the accumulator, X the index register.
fn program(count: u32) -> [sock_filter; 25] {
    // Offsets of the source address: RFC 791 section 3.1, RFC 8200 section 3.
    let v4_source = NETWORK_HEADER.wrapping_add(12);
    let v6_source = |word: u32| NETWORK_HEADER.wrapping_add(8 + 4 * word);
    [
        load_byte(NETWORK_HEADER), // version and header length
        shift_right(4),
        skip_unless_equal(6, 17),
        // Version 6. Each word but the first is mixed with the hash so far, kept in X.
        load_word(v6_source(0)),
        multiply(MULTIPLIER),
        keep(),
        load_word(v6_source(1)),
        mix(),
        multiply(MULTIPLIER),
        keep(),
        load_word(v6_source(2)),
        mix(),
        multiply(MULTIPLIER),
        keep(),
        load_word(v6_source(3)),
        mix(),
        multiply(MULTIPLIER),
        shift_right(16),
        modulo(count),
        answer(),
        // Version 4.
        load_word(v4_source),
        multiply(MULTIPLIER),
        shift_right(16),
        modulo(count),
        answer(),
    ]
}

fn load_byte(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, offset)
}

fn load_word(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn multiply(by: u32) -> sock_filter {
    instruction(libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K, by)
}

fn shift_right(bits: u32) -> sock_filter {
    instruction(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, bits)
}

fn modulo(by: u32) -> sock_filter {
    instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, by)
}

/// X = A
fn keep() -> sock_filter {
    instruction(libc::BPF_MISC | libc::BPF_TAX, 0)
}

/// A = A ^ X
fn mix() -> sock_filter {
    instruction(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0)
}

/// The listener's number is A.
fn answer() -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_A, 0)
}

/// Goes on if A equals `value`, else skips `count` instructions.
fn skip_unless_equal(value: u32, count: u8) -> sock_filter {
    let mut jump = instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value);
    jump.jf = count;
    jump
}

fn instruction(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    /// Runs the program on the start of a packet, as the kernel would.
    fn run(program: &[sock_filter], packet: &[u8]) -> u32 {
        let (mut accumulator, mut index, mut at) = (0u32, 0u32, 0usize);
        // Jumps only go forward, so every instruction runs at most once.
        for _ in 0..program.len() {
            let step = program[at];
            let offset = step.k.wrapping_sub(NETWORK_HEADER) as usize;
            at += 1;
            match u32::from(step.code) {
                0x30 => accumulator = packet[offset].into(),
                0x20 => {
                    let word = packet[offset..offset + 4].try_into().unwrap();
                    accumulator = u32::from_be_bytes(word);
                }
                0x24 => accumulator = accumulator.wrapping_mul(step.k),
                0x74 => accumulator >>= step.k,
                0x94 => accumulator %= step.k,
                0xac => accumulator ^= index,
                0x07 => index = accumulator,
                0x15 => {
                    at += usize::from(if accumulator == step.k {
                        step.jt
                    } else {
                        step.jf
                    })
                }
                0x16 => return accumulator,
                code => panic!("an instruction this program does not need: {code:#x}"),
            }
        }
        panic!("the program does not end");
    }

    /// An IP header with this source; every other byte is noise that must not matter.
    fn packet(source: IpAddr) -> Vec<u8> {
        let mut packet = vec![0xA5; 40];
        match source {
            IpAddr::V4(source) => {
                packet[0] = 0x45;
                packet[12..16].copy_from_slice(&source.octets());
            }
            IpAddr::V6(source) => {
                packet[0] = 0x6A;
                packet[8..24].copy_from_slice(&source.octets());
            }
        }
        packet
    }

    #[test]
    fn the_program_agrees_with_user_space_on_every_kind_of_address() {
        let mut random = 1u128;
        for round in 0..2_000u32 {
            random = random
                .wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645)
                .wrapping_add(u128::from(round) << 1 | 1);
            let mixed = random ^ (random >> 61);
            for source in [
                IpAddr::from((mixed as u32).to_be_bytes()),
                IpAddr::from(mixed.to_be_bytes()),
            ] {
                for count in [1, 2, 4, 7, 53] {
                    let predicted = shardwire_shards::placement::address_hash(source) % count;
                    assert_eq!(
                        run(&program(count), &packet(source)),
                        predicted,
                        "{source} % {count}"
                    );
                }
            }
        }
    }
}
