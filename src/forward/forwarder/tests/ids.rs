//! Ids inside payloads and extensions: those of pictures and of frames go on as the packets' numbers do.

use super::*;
use crate::rtp::PictureIds;
use crate::rtp::dependency_descriptor::tests::{L1T3, bytes};
use crate::rtp::dependency_descriptor::{DependencyReader, DependencyRewrite};
use crate::rtp::vp8::Vp8;
use crate::rtp::vp9::Vp9;

#[test]
fn a_restarted_publisher_continues_numbers_time_and_picture_ids() {
    let vp8 = |picture_id, tl0, key_index| {
        Descriptor::Vp8(Vp8 {
            picture_id: Some(picture_id),
            tl0_picture_index: Some(tl0),
            key_index: Some(key_index),
            ..Vp8::default()
        })
    };
    let mut bench = Bench::new(MediaKind::Video);
    bench.forwarder.select(Some(LOW));
    let key = Packet { descriptor: vp8(20, 5, 1), marker: true, ..bench.keyframe(50, 1000, 0) };
    assert_eq!(bench.forward(LOW, &key).unwrap().ids, None, "the first source keeps its own ids");
    let cut = Packet { descriptor: vp8(21, 6, 1), ..bench.packet(51, 4000, 33) };
    assert_eq!(bench.forward(LOW, &cut).unwrap().ids, None);
    // The picture's time is that of its first packet, however slowly the rest comes.
    let rest = Packet { sequence: 52, arrived: cut.arrived + Duration::from_millis(100), ..cut.clone() };
    assert_eq!(bench.sequence(LOW, &rest), Ok(1002));

    bench.forwarder.select(Some(RESTARTED));
    let early = Packet { descriptor: vp8(8999, 199, 29), ..bench.packet(30_000, 77, 2033) };
    assert_eq!(bench.forward(RESTARTED, &early), Err(DropReason::AwaitingKeyframe));
    let key = Packet { descriptor: vp8(9000, 200, 30), ..bench.keyframe(30_001, 88, 2033) };
    let rewritten = bench.forward(RESTARTED, &key).unwrap();
    let ids = PictureIds { picture_id: Some(22), tl0_picture_index: Some(7), key_index: Some(2) };
    let expected = Rewritten { sequence: 1004, timestamp: 4000 + 180_000, ids: Some(ids), ..PLAIN };
    assert_eq!(rewritten, expected);
    let next = Packet { descriptor: vp8(9001, 201, 30), ..bench.packet(30_002, 3088, 2066) };
    let ids = PictureIds { picture_id: Some(23), tl0_picture_index: Some(8), key_index: Some(2) };
    assert_eq!(bench.forward(RESTARTED, &next).unwrap().ids, Some(ids));
}

#[test]
fn picture_ids_of_vp9_go_on_across_encodings_and_keep_their_gaps_within_one() {
    let picture = |bench: &Bench, sequence: u64, (id, tl0, temporal_id): (u16, u8, u8), at: u64| Packet {
        codec: Codec::Vp9,
        descriptor: Descriptor::Vp9(Vp9 {
            picture_id: Some(id),
            tl0_picture_index: Some(tl0),
            inter_predicted: true,
            start_of_frame: true,
            end_of_frame: true,
            temporal_id,
            ..Vp9::default()
        }),
        picture: Some(id.into()),
        marker: true,
        ..bench.packet(sequence, at * 90, at)
    };
    let ids = |sent: Result<Rewritten, DropReason>| sent.map(|sent| sent.ids);
    let told = |picture_id, tl0| {
        Ok(Some(PictureIds { picture_id: Some(picture_id), tl0_picture_index: Some(tl0), key_index: None }))
    };
    let mut bench = Bench::new(MediaKind::Video);
    bench.forwarder.select(Some(Target { temporal: 0, ..LOW }));
    let key = Packet { starts_keyframe: true, ..picture(&bench, 50, (0x7ffd, 254, 0), 0) };
    assert_eq!(ids(bench.forward(LOW, &key)), Ok(None));
    // References are by PictureID: what is left out leaves a gap.
    assert_eq!(bench.sequence(LOW, &picture(&bench, 51, (0x7ffe, 254, 1), 33)), Err(DropReason::UpperLayer));
    assert_eq!(ids(bench.forward(LOW, &picture(&bench, 52, (0x7fff, 255, 0), 66))), Ok(None));
    bench.forwarder.select(Some(Target { temporal: 0, ..HIGH }));
    let key = Packet { starts_keyframe: true, ..picture(&bench, 7000, (300, 7, 0), 100) };
    assert_eq!(ids(bench.forward(HIGH, &key)), told(0, 0));
    assert_eq!(bench.sequence(HIGH, &picture(&bench, 7001, (301, 7, 1), 133)), Err(DropReason::UpperLayer));
    assert_eq!(ids(bench.forward(HIGH, &picture(&bench, 7002, (302, 8, 0), 166))), told(2, 1));
}

#[test]
fn numbers_and_picture_ids_close_up_over_a_temporal_layer_that_is_left_out() {
    let mut bench = Bench::new(MediaKind::Video);
    bench.forwarder.select(Some(Target { temporal: 0, ..LOW }));
    let picture = |bench: &Bench, sequence: u64, id: u16, temporal_id: u8| Packet {
        descriptor: Descriptor::Vp8(Vp8 {
            picture_id: Some(id),
            tl0_picture_index: Some(7),
            temporal_id: Some(temporal_id),
            ..Vp8::default()
        }),
        picture: Some(id.into()),
        marker: true,
        ..bench.packet(sequence, u64::from(id) * 3000, u64::from(id) * 33)
    };
    let id = |sent: Rewritten| sent.ids.and_then(|ids| ids.picture_id);
    let key = Packet { starts_keyframe: true, ..picture(&bench, 50, 20, 0) };
    assert_eq!(bench.forward(LOW, &key).map(|sent| (sent.sequence, id(sent))), Ok((1000, None)));
    assert_eq!(bench.sequence(LOW, &picture(&bench, 51, 21, 2)), Err(DropReason::UpperLayer));
    // 52 and 53 of the same picture are lost.
    assert_eq!(
        bench.forward(LOW, &picture(&bench, 54, 22, 0)).map(|sent| (sent.sequence, id(sent))),
        Ok((1003, Some(21)))
    );
    let late = bench.forward(LOW, &picture(&bench, 53, 21, 2)).unwrap();
    assert_eq!((late.sequence, late.empty, late.ids), (1002, true, None), "its number is missed already");
    assert_eq!(bench.sequence(LOW, &picture(&bench, 55, 23, 2)), Err(DropReason::UpperLayer));
    bench.forwarder.select(Some(HIGH));
    let key = Packet { starts_keyframe: true, ..picture(&bench, 900, 500, 0) };
    let switched = bench.forward(HIGH, &Packet { arrived: bench.start + Duration::from_millis(800), ..key }).unwrap();
    assert_eq!((switched.sequence, id(switched)), (1004, Some(22)));
}

#[test]
fn dependency_descriptors_go_on_across_a_switch() {
    let mut bench = Bench::new(MediaKind::Video);
    let mut readers = [DependencyReader::default(), DependencyReader::default()];
    let mut describe = |layer: usize, hex: &str| readers[layer].read(&bytes(hex)).map(Arc::new);
    bench.forwarder.select(Some(LOW));
    // Frame 1 with the structure, whose templates are 0 to 4; then frame 9.
    let key = Packet { dependency: describe(0, L1T3), marker: true, ..bench.keyframe(50, 1000, 0) };
    assert_eq!(bench.forward(LOW, &key).unwrap().dependency, None, "the first source keeps its own");
    let delta = Packet { dependency: describe(0, "c10009"), marker: true, ..bench.packet(51, 4000, 33) };
    assert_eq!(bench.forward(LOW, &delta).unwrap().dependency, None);
    bench.forwarder.select(Some(HIGH));
    let key = Packet { dependency: describe(1, L1T3), ..bench.keyframe(900, 7000, 66) };
    let expected = DependencyRewrite { frame_number_offset: 9, template_id_offset: 5, active_targets: None };
    assert_eq!(bench.forward(HIGH, &key).unwrap().dependency, Some(expected));
    let delta = Packet { dependency: describe(1, "c10005"), ..bench.packet(901, 10_000, 100) };
    assert_eq!(bench.forward(HIGH, &delta).unwrap().dependency, Some(expected), "what refers back still does");
}
