//! Hints to the processor to fetch memory that is going to be read, so that waits for memory overlap instead of adding
//! up (level 0). With hundreds of viewers the state of each is out of the processor's caches when its turn comes.
//!
//! The one place of the core with unsafe code. A hint is no access: it never faults, whatever address it is given, and
//! changes nothing but the caches, so these functions are safe to call with any reference. On architectures other than
//! x86-64 they do nothing.

/// Bytes of a cache line. Were it larger, some lines would be asked for twice.
const LINE: usize = 64;

/// Lines of one value that are asked for at most: a key of AES-GCM takes ten. Larger: more of what is needed later than
/// at once; smaller: parts of large values are waited for.
const MOST_LINES: usize = 10;

/// Asks for a value, from its beginning.
#[inline]
pub fn read<T: ?Sized>(value: &T) {
    lines((&raw const *value).cast(), size_of_val(value).div_ceil(LINE).min(MOST_LINES));
}

/// Asks for the beginning of a value too large to be wanted as a whole.
#[inline]
pub fn read_head<T: ?Sized>(value: &T, bytes: usize) {
    lines((&raw const *value).cast(), size_of_val(value).min(bytes).div_ceil(LINE).min(MOST_LINES));
}

/// Asks for what a value keeps on the heap, where its type does not show that: every word of it that may be an address
/// is taken for one. A guess that is wrong costs a fetch. The value itself is read, so ask for that first.
#[inline]
pub fn read_behind<T>(value: &T) {
    for index in 0..size_of::<T>() / size_of::<usize>() {
        if let Some(address) = address_in(value, index) {
            lines(address, MOST_LINES);
        }
    }
}

#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
#[inline]
fn lines(start: *const u8, count: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    for line in 0..count {
        // SAFETY: PREFETCHT0 reads nothing and raises no exception, whatever the address (it is a hint).
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line * LINE).cast()) };
    }
}

/// The word of a value at this index, if it may be an address of this process.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
#[inline]
fn address_in<T>(value: &T, index: usize) -> Option<*const u8> {
    /// Nothing is mapped below: null, flags and lengths are no addresses.
    const LOWEST: usize = 1 << 16;
    /// User space ends below.
    const HIGHEST: usize = 1 << 47;
    let offset = index * size_of::<usize>();
    if offset + size_of::<usize>() > size_of::<T>() {
        return None;
    }
    let place = (&raw const *value).cast::<u8>().wrapping_add(offset);
    let word: usize;
    // SAFETY: loads eight bytes that lie within the value, as checked above; they need not be aligned. In assembly,
    // because they may be padding, which has no value in Rust.
    unsafe {
        std::arch::asm!(
            "mov {word}, qword ptr [{place}]",
            word = out(reg) word,
            place = in(reg) place,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    (LOWEST..HIGHEST).contains(&word).then(|| std::ptr::without_provenance(word))
}

#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64")))]
#[inline]
fn lines(_: *const u8, _: usize) {}

#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64")))]
#[inline]
fn address_in<T>(_: &T, _: usize) -> Option<*const u8> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_kind_are_left_as_they_are() {
        let text = String::from("text");
        read(&());
        read(text.as_str());
        read(&[7u8; 100_000]);
        read_head(&[7u8; 100_000], 128);
        read_behind(&text);
        read_behind(&(1u8, usize::MAX, 0usize, std::ptr::without_provenance::<u8>(0x7fff_ffff_f000)));
        assert_eq!(text, "text");
    }

    #[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
    #[test]
    fn what_a_value_keeps_on_the_heap_is_found_and_numbers_are_not() {
        let kept = (Box::new(7u64), 3usize, -1i64);
        let words = size_of_val(&kept) / size_of::<usize>();
        let found: Vec<_> = (0..=words).filter_map(|index| address_in(&kept, index)).collect();
        assert_eq!(found, [(&raw const *kept.0).cast()]);
        assert_eq!(address_in(&[1u8; 7], 0), None, "no whole word");
    }
}
