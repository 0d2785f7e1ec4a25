"""The bytes of a segment."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashq.errors import JournalCorrupt
from flashq.storage.journal_format import (
    BODY,
    HEADER_BYTES,
    PREFIX,
    READ_BYTES,
    RECORD_HEAD,
    SECTOR,
    Header,
    aligned,
    crc32c,
    frames,
    parse_header,
    search,
)
from flashq.testing.files import SimulatedDisk

HEADER = Header(3, 7, 1 << 20, b"saltsalt", 41, 0xDEADBEEF, 9, "6a1f0e9c-0000-4000-8000-000000000001")


def test_crc_is_the_castagnoli_one() -> None:
    """The check value of CRC-32C (RFC 3720, B.4), whole and in pieces."""
    assert crc32c(0, b"123456789") == crc32c(crc32c(0, b"1234"), b"56789") == 0xE3069283


@given(
    st.builds(
        Header,
        shard=st.integers(0, 0xFFFF),
        number=st.integers(0, (1 << 64) - 1),
        size=st.integers(0, (1 << 64) - 1),
        salt=st.binary(min_size=8, max_size=8),
        first_seq=st.integers(0, (1 << 64) - 1),
        chain=st.integers(0, (1 << 32) - 1),
        epoch=st.integers(0, (1 << 64) - 1),
        boot=st.text(max_size=16),
    )
)
def test_header_is_read_back(header: Header) -> None:
    assert len(header.pack()) == SECTOR
    assert parse_header(header.pack(), "x.seg") == header


def test_boot_id_too_long_to_keep_is_refused() -> None:
    with pytest.raises(ValueError, match="65 bytes: at most 64"):
        HEADER._replace(boot="b" * 65).pack()


@pytest.mark.parametrize("size", [0, 8, SECTOR - 1])
def test_header_cut_short_is_refused(size: int) -> None:
    with pytest.raises(JournalCorrupt, match=f"shard 3: x.seg ends at offset {size}, inside its header"):
        parse_header(HEADER.pack()[:size], "x.seg", 3)


@pytest.mark.parametrize(("offset", "expected"), [(0, 0), (1, 8), (8, 8), (4_097, 4_104)])
def test_records_begin_at_multiples_of_eight(offset: int, expected: int) -> None:
    assert aligned(offset) == expected


def write(sizes: list[int]) -> tuple[SimulatedDisk, str, list[bytes]]:
    """A segment with records of these sizes, their bytes put together as the format says."""
    content = bytearray(HEADER.pack().ljust(HEADER_BYTES, b"\0"))
    written = [Random(size).randbytes(size) for size in sizes]
    crc = HEADER.chain
    for seq, events in enumerate(written, 1):
        body = BODY.pack(len(events), crc, 0, seq, 9, -5, 6, 0)
        crc = crc32c(0, body + events)
        content += PREFIX.pack(HEADER.salt, crc) + body + events
        content += bytes(-len(content) % 8)
    disk = SimulatedDisk()
    disk.replace("/s/x.seg", bytes(content) + bytes(500))
    return disk, "/s/x.seg", written


@pytest.mark.parametrize(
    "sizes",
    [
        [],
        [0, 0, 0],
        [1] * 5_000 + [200] * 5_000,
        [READ_BYTES - RECORD_HEAD, READ_BYTES, 3 * READ_BYTES, 5],
        [READ_BYTES // 3 + n for n in range(10)],
    ],
)
def test_records_are_read_across_the_pieces_a_file_is_read_in(sizes: list[int]) -> None:
    disk, path, written = write(sizes)
    file = disk.open(path)
    header = parse_header(file.pread(SECTOR, 0), path)
    found = [frame[-1] for frame in frames(file, header)]
    assert [record.events for record in found] == written
    assert all(record[1:5] == (9, -5, 6, HEADER.boot) for record in found)


def test_search_finds_records_behind_damage() -> None:
    disk, path, _ = write([200] * 10)
    file = disk.open(path)
    header = parse_header(file.pread(SECTOR, 0), path)
    ends = [frame[0] for frame in frames(file, header)]
    content = bytearray(disk.read(path))
    content[ends[3] + 100] ^= 1  # record 5
    content[ends[5] : ends[5] + 8] = bytes(8)  # the mark of record 7
    disk.replace(path, bytes(content))
    found = list(search(disk.open(path), header, HEADER_BYTES))
    assert [at for at, _ in found] == [HEADER_BYTES, *ends[:5], *ends[6:9]]
    assert [None if frame is None else frame[-1].seq for _, frame in found] == [1, 2, 3, 4, None, 6, 8, 9, 10]
