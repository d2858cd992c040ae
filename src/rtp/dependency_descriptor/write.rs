//! Writing the descriptor's fields in the order of the specification (appendix A.8.2).

use arrayvec::ArrayVec;

use super::super::bits::{BitWriter, MAX_EXTENSION};
use super::{Dependencies, DependencyDescriptor, Structure};

/// dependency_descriptor().
pub(super) fn descriptor(
    descriptor: &DependencyDescriptor,
    active_targets: Option<u32>,
) -> Option<ArrayVec<u8, MAX_EXTENSION>> {
    let mut writer = BitWriter::default();
    writer.flag(descriptor.start_of_frame)?;
    writer.flag(descriptor.end_of_frame)?;
    writer.bits(6, descriptor.template_id.into())?;
    writer.bits(16, descriptor.frame_number as u32)?;
    let customs = descriptor.customs;
    let active_targets = active_targets.or(customs.active_targets.then_some(descriptor.active_targets));
    let flags = [
        descriptor.starts_sequence,
        active_targets.is_some(),
        customs.indications,
        customs.frame_diffs,
        customs.chain_diffs,
    ];
    if flags == [false; 5] {
        return Some(writer.finish());
    }
    flags.into_iter().try_for_each(|flag| writer.flag(flag))?;
    let target_count = descriptor.structure.decode_targets.len() as u32;
    if descriptor.starts_sequence {
        write_structure(&mut writer, &descriptor.structure)?;
    }
    if let Some(active_targets) = active_targets {
        writer.bits(target_count, active_targets)?;
    }
    let dependencies = &descriptor.dependencies;
    if customs.indications {
        write_indications(&mut writer, dependencies, target_count)?;
    }
    if customs.frame_diffs {
        write_frame_diffs(&mut writer, dependencies)?;
    }
    if customs.chain_diffs {
        dependencies.chain_diffs.iter().try_for_each(|&diff| writer.bits(8, diff.into()))?;
    }
    Some(writer.finish())
}

/// Adds to frame number and template ids where they stand. Bytes too short for the fields have none.
pub(super) fn shift_numbers(bytes: &mut [u8], frame_number_offset: u16, template_id_offset: u8) {
    let shifted = |id: u8| id.wrapping_add(template_id_offset) & 0x3f;
    if let [head, high, low, ..] = bytes {
        *head = *head & 0xc0 | shifted(*head & 0x3f);
        [*high, *low] = u16::from_be_bytes([*high, *low]).wrapping_add(frame_number_offset).to_be_bytes();
    }
    // The structure's template_id_offset follows its flag and four others, across a byte boundary.
    if let [_, _, _, flags, next, ..] = bytes
        && *flags & 0x80 != 0
    {
        let id = shifted((*flags & 0x07) << 3 | *next >> 5);
        *flags = *flags & 0xf8 | id >> 3;
        *next = *next & 0x1f | id << 5;
    }
}

/// template_dependency_structure().
fn write_structure(writer: &mut BitWriter, structure: &Structure) -> Option<()> {
    let target_count = structure.decode_targets.len() as u32;
    writer.bits(6, structure.template_id_offset.into())?;
    writer.bits(5, target_count - 1)?;
    for (template, next) in structure.templates.iter().zip(structure.templates.iter().skip(1)) {
        writer.bits(2, next_layer(template, next))?;
    }
    writer.bits(2, NO_MORE_LAYERS)?;
    for template in &structure.templates {
        write_indications(writer, template, target_count)?;
    }
    for template in &structure.templates {
        for &diff in &template.frame_diffs {
            writer.bits(5, 0x10 | (u32::from(diff) - 1))?;
        }
        writer.flag(false)?;
    }
    write_chains(writer, structure)?;
    writer.flag(!structure.sizes_less_one.is_empty())?;
    for &(width, height) in &structure.sizes_less_one {
        writer.bits(16, width.into())?;
        writer.bits(16, height.into())?;
    }
    Some(())
}

/// next_layer_idc (table A.2).
fn next_layer(template: &Dependencies, next: &Dependencies) -> u32 {
    if next.spatial_id != template.spatial_id { 2 } else { u32::from(next.temporal_id != template.temporal_id) }
}
const NO_MORE_LAYERS: u32 = 3;

fn write_indications(writer: &mut BitWriter, dependencies: &Dependencies, target_count: u32) -> Option<()> {
    (0..target_count).try_for_each(|target| writer.bits(2, (dependencies.indications >> (2 * target)) as u32))
}

/// frame_fdiffs(): each in as few groups of four bits as hold it.
fn write_frame_diffs(writer: &mut BitWriter, dependencies: &Dependencies) -> Option<()> {
    for &diff in &dependencies.frame_diffs {
        let less_one = u32::from(diff) - 1;
        let groups = (32 - less_one.leading_zeros()).div_ceil(4).max(1);
        writer.bits(2, groups)?;
        writer.bits(4 * groups, less_one)?;
    }
    writer.bits(2, 0)
}

fn write_chains(writer: &mut BitWriter, structure: &Structure) -> Option<()> {
    let chain_count = structure.chain_count.into();
    writer.non_symmetric(structure.decode_targets.len() as u32 + 1, chain_count)?;
    for chain in structure.decode_targets.iter().filter_map(|target| target.chain) {
        writer.non_symmetric(chain_count, chain.into())?;
    }
    let mut diffs = structure.templates.iter().flat_map(|template| &template.chain_diffs);
    diffs.try_for_each(|&diff| writer.bits(4, diff.into()))
}
