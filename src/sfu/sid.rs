//! Sids: what participants, tracks and rooms are called in messages. A sid is its key, so nothing is looked up to read
//! one, and a stale one is detected, never taken for another.

use slotmap::{Key, KeyData};

use super::{ParticipantKey, RoomKey, ShardIndex, TrackKey};

/// `PA_` and 16 letters and digits.
pub(super) fn of_participant(shard: ShardIndex, key: ParticipantKey) -> String {
    write("PA_", shard, key.data())
}

/// `TR_` and 16 letters and digits.
pub(super) fn of_track(shard: ShardIndex, key: TrackKey) -> String {
    write("TR_", shard, key.data())
}

/// `RM_` and 16 letters and digits.
pub(super) fn of_room(shard: ShardIndex, key: RoomKey) -> String {
    write("RM_", shard, key.data())
}

/// The participant a sid names, if it is of this shard.
pub(super) fn participant(shard: ShardIndex, sid: &str) -> Option<ParticipantKey> {
    read("PA_", shard, sid).map(ParticipantKey::from)
}

/// The track a sid names, if it is of this shard.
pub(super) fn track(shard: ShardIndex, sid: &str) -> Option<TrackKey> {
    read("TR_", shard, sid).map(TrackKey::from)
}

fn write(prefix: &str, ShardIndex(shard): ShardIndex, key: KeyData) -> String {
    let mut bytes = [0; 10];
    let values = shard.to_be_bytes().into_iter().chain(key.as_ffi().to_be_bytes());
    bytes.iter_mut().zip(values).for_each(|(byte, value)| *byte = value);
    format!("{prefix}{}", data_encoding::BASE32_NOPAD.encode(&bytes))
}

fn read(prefix: &str, ShardIndex(shard): ShardIndex, sid: &str) -> Option<KeyData> {
    let bytes = data_encoding::BASE32_NOPAD.decode(sid.strip_prefix(prefix)?.as_bytes()).ok()?;
    let (named, key) = bytes.split_first_chunk::<2>()?;
    let key = u64::from_be_bytes(key.try_into().ok()?);
    (u16::from_be_bytes(*named) == shard).then(|| KeyData::from_ffi(key))
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    #[test]
    fn a_sid_is_read_back_by_its_own_shard_and_kind_alone() {
        let mut keys = SlotMap::<ParticipantKey, ()>::with_key();
        let key = keys.insert(());
        let sid = of_participant(ShardIndex(3), key);
        assert_eq!(sid.len(), 19, "{sid}");
        assert_eq!(participant(ShardIndex(3), &sid), Some(key));
        assert_eq!(participant(ShardIndex(4), &sid), None);
        assert_eq!(track(ShardIndex(3), &sid), None);
        for sid in ["", "PA_", "PA_x", "PA_AAAAAAAAAAAAAAAAA", "TR_!", "PA_ÄÄÄÄÄÄÄÄ"] {
            assert_eq!(participant(ShardIndex(0), sid), None, "{sid}");
        }
    }
}
