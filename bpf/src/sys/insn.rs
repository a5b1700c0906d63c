//! Single instructions of the kernel's machine, for the two programs too small for a compiler.
//! Register numbers first, destination before source; offsets in bytes, jumps in instructions.

use libbpf_sys as ffi;
use libbpf_sys::bpf_insn as Insn;

fn encode(code: u32, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    let mut insn = Insn { code: code as u8, off, imm, ..Default::default() };
    insn.set_dst_reg(dst);
    insn.set_src_reg(src);
    insn
}

pub(crate) fn mov(dst: u8, src: u8) -> Insn {
    encode(ffi::BPF_ALU64 | ffi::BPF_MOV | ffi::BPF_X, dst, src, 0, 0)
}

pub(crate) fn mov_imm(dst: u8, value: i32) -> Insn {
    encode(ffi::BPF_ALU64 | ffi::BPF_MOV | ffi::BPF_K, dst, 0, 0, value)
}

pub(crate) fn add_imm(dst: u8, value: i32) -> Insn {
    encode(ffi::BPF_ALU64 | ffi::BPF_ADD | ffi::BPF_K, dst, 0, 0, value)
}

pub(crate) fn and_imm(dst: u8, value: i32) -> Insn {
    encode(ffi::BPF_ALU64 | ffi::BPF_AND | ffi::BPF_K, dst, 0, 0, value)
}

pub(crate) fn shift_right_imm(dst: u8, bits: i32) -> Insn {
    encode(ffi::BPF_ALU64 | ffi::BPF_RSH | ffi::BPF_K, dst, 0, 0, bits)
}

pub(crate) fn multiply_imm(dst: u8, value: i32) -> Insn {
    encode(ffi::BPF_ALU64 | ffi::BPF_MUL | ffi::BPF_K, dst, 0, 0, value)
}

/// The low 32 bits in network order.
pub(crate) fn to_be32(dst: u8) -> Insn {
    encode(ffi::BPF_ALU | ffi::BPF_END | ffi::BPF_TO_BE, dst, 0, 0, 32)
}

pub(crate) fn load32(dst: u8, src: u8, off: i16) -> Insn {
    encode(ffi::BPF_LDX | ffi::BPF_MEM | ffi::BPF_W, dst, src, off, 0)
}

pub(crate) fn load64(dst: u8, src: u8, off: i16) -> Insn {
    encode(ffi::BPF_LDX | ffi::BPF_MEM | ffi::BPF_DW, dst, src, off, 0)
}

pub(crate) fn store8(dst: u8, off: i16, src: u8) -> Insn {
    encode(ffi::BPF_STX | ffi::BPF_MEM | ffi::BPF_B, dst, src, off, 0)
}

pub(crate) fn store16(dst: u8, off: i16, src: u8) -> Insn {
    encode(ffi::BPF_STX | ffi::BPF_MEM | ffi::BPF_H, dst, src, off, 0)
}

pub(crate) fn store32(dst: u8, off: i16, src: u8) -> Insn {
    encode(ffi::BPF_STX | ffi::BPF_MEM | ffi::BPF_W, dst, src, off, 0)
}

pub(crate) fn store64(dst: u8, off: i16, src: u8) -> Insn {
    encode(ffi::BPF_STX | ffi::BPF_MEM | ffi::BPF_DW, dst, src, off, 0)
}

pub(crate) fn store_imm32(dst: u8, off: i16, value: i32) -> Insn {
    encode(ffi::BPF_ST | ffi::BPF_MEM | ffi::BPF_W, dst, 0, off, value)
}

pub(crate) fn jump_if_zero(register: u8, over: i16) -> Insn {
    encode(ffi::BPF_JMP | ffi::BPF_JEQ | ffi::BPF_K, register, 0, over, 0)
}

/// Unsigned.
pub(crate) fn jump_if_greater(left: u8, right: u8, over: i16) -> Insn {
    encode(ffi::BPF_JMP | ffi::BPF_JGT | ffi::BPF_X, left, right, over, 0)
}

pub(crate) fn call(helper: ffi::bpf_func_id) -> Insn {
    encode(ffi::BPF_JMP | ffi::BPF_CALL, 0, 0, 0, helper as i32)
}

pub(crate) fn exit() -> Insn {
    encode(ffi::BPF_JMP | ffi::BPF_EXIT, 0, 0, 0, 0)
}

/// A map by its descriptor: one instruction of double length.
pub(crate) fn map_address(dst: u8, map: i32) -> [Insn; 2] {
    let code = ffi::BPF_LD | ffi::BPF_IMM | ffi::BPF_DW;
    [encode(code, dst, ffi::BPF_PSEUDO_MAP_FD as u8, 0, map), encode(0, 0, 0, 0, 0)]
}
