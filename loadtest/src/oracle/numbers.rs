//! Running numbers of pictures in the payload: what decoders take a jump in for loss.

use crate::media::{Content, Stamp, Vp8, Vp9};

use super::violation::Breach;

/// Checks neighbouring frames with nothing lost between them.
pub(super) fn check(before: &Content, after: &Content, blame: &mut impl FnMut(Breach)) {
    if let (Some(old), Some(new)) = (&before.vp8, &after.vp8) {
        check_vp8(old, new, &after.stamp, blame);
    }
    if let (Some(old), Some(new)) = (before.vp9, after.vp9) {
        check_vp9((old, &before.stamp), (new, &after.stamp), blame);
    }
}

/// RFC 7741 section 4.2.
fn check_vp8(before: &Vp8, after: &Vp8, stamp: &Stamp, blame: &mut impl FnMut(Breach)) {
    let mut check = |field, before: Option<u16>, after: Option<u16>, ok: &dyn Fn(u16, u16) -> bool| {
        if let (Some(before), Some(after)) = (before, after)
            && !ok(before, after)
        {
            blame(Breach::Discontinuous { field, before, after, stamp: Box::new(*stamp) });
        }
    };
    let picture = |vp8: &Vp8| vp8.picture_id.map(|id| id.number);
    let modulus = after.picture_id.map_or(1, |id| id.modulus());
    check("PictureID", picture(before), picture(after), &|old, new| new == (old + 1) % modulus);
    let step = u16::from(stamp.temporal == 0);
    check("TL0PICIDX", before.tl0_index.map(u16::from), after.tl0_index.map(u16::from), &|old, new| {
        new == (old + step) % 256
    });
    let key_step = u16::from(stamp.key);
    check("KEYIDX", before.key_index.map(u16::from), after.key_index.map(u16::from), &|old, new| {
        new == old || new == (old + key_step) % 32
    });
}

/// RFC 9628 section 4.2. Pictures that were left out keep their ids, because others refer to theirs by distance; at a
/// change of source none are.
fn check_vp9((before, old): (Vp9, &Stamp), (after, new): (Vp9, &Stamp), blame: &mut impl FnMut(Breach)) {
    let mut check = |field, before: u16, after: u16, ok: bool| {
        if !ok {
            blame(Breach::Discontinuous { field, before, after, stamp: Box::new(*new) });
        }
    };
    let same_picture = old.picture() == new.picture();
    let goes_on = (old.source, old.layer) == (new.source, new.layer);
    let steps = match (same_picture, goes_on) {
        (true, _) => 0..=0,
        (false, true) => 1..=0x3fff,
        (false, false) => 1..=1,
    };
    let step = after.picture_id.wrapping_sub(before.picture_id) & 0x7fff;
    check("PictureID", before.picture_id, after.picture_id, steps.contains(&step));
    let step = u8::from(!same_picture && new.temporal == 0);
    let expected = before.tl0_index.wrapping_add(step);
    check("TL0PICIDX", before.tl0_index.into(), after.tl0_index.into(), after.tl0_index == expected);
}
