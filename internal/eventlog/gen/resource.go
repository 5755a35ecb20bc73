package main

import (
	"encoding/binary"
	"strings"
	"unicode/utf16"

	"writeback/internal/eventlog"
)

// messageTable encodes the texts of events as MESSAGE_RESOURCE_DATA (winnt.h): a
// block for each run of numbers, then the texts, which are zero-terminated UTF-16
// and fill whole words of four bytes. Events come by number.
func messageTable(events []eventlog.Event) []byte {
	const header, block = 4, 12
	type run struct{ low, high, offset uint32 }
	var runs []run
	var texts []byte
	for _, e := range events {
		if n := len(runs); n > 0 && runs[n-1].high+1 == e.ID {
			runs[n-1].high = e.ID
		} else {
			runs = append(runs, run{e.ID, e.ID, uint32(len(texts))})
		}
		text := utf16.Encode([]rune(strings.ReplaceAll(e.Text, "\n", "\r\n") + "\r\n\x00"))
		if len(text)%2 == 1 {
			text = append(text, 0)
		}
		texts = binary.LittleEndian.AppendUint16(texts, uint16(4+2*len(text)))
		texts = binary.LittleEndian.AppendUint16(texts, 1) // MESSAGE_RESOURCE_UNICODE
		for _, unit := range text {
			texts = binary.LittleEndian.AppendUint16(texts, unit)
		}
	}
	b := words(uint32(len(runs)))
	for _, r := range runs {
		b = append(b, words(r.low, r.high, uint32(header+block*len(runs))+r.offset)...)
	}
	return append(b, texts...)
}

// The data follow three directories (type, name, language) of one entry each,
// and the one description of data (IMAGE_RESOURCE_DIRECTORY and so on, winnt.h).
const (
	directory = 16 + 8
	dataEntry = 3 * directory
	data      = dataEntry + 16

	typeMessageTable = 11
	name             = 1      // any
	english          = 0x0409 // of the United States
	folder           = 1 << 31
)

// resources makes table the one resource of a program. Its address, at dataEntry,
// is that in the section; the linker moves it.
func resources(table []byte) []byte {
	entry := func(id, offset uint32) []byte { return words(0, 0, 0, 1<<16, id, offset) }
	b := entry(typeMessageTable, folder|directory)
	b = append(b, entry(name, folder|2*directory)...)
	b = append(b, entry(english, dataEntry)...)
	b = append(b, words(data, uint32(len(table)), 0, 0)...)
	return append(b, table...)
}

// object makes an object file for amd64 (PE format, COFF) with the one section
// .rsrc, a symbol for it, and a relocation of the resource's address.
func object(rsrc []byte) []byte {
	const (
		amd64      = 0x8664
		fileHeader = 20
		section    = 40
		relocation = 10
		relative   = 3           // IMAGE_REL_AMD64_ADDR32NB: from the program's start
		readData   = 0x4000_0040 // IMAGE_SCN_MEM_READ, IMAGE_SCN_CNT_INITIALIZED_DATA
		static     = 3           // IMAGE_SYM_CLASS_STATIC
	)
	le := binary.LittleEndian
	raw := uint32(fileHeader + section)
	reloc := raw + uint32(len(rsrc))
	var b []byte
	b = le.AppendUint16(b, amd64)
	b = le.AppendUint16(b, 1)                             // sections
	b = append(b, words(0, reloc+relocation, 1, 0)...)    // no time, symbols, how many; no further header
	b = append(b, ".rsrc\x00\x00\x00"...)                 // name
	b = append(b, words(0, 0, uint32(len(rsrc)), raw)...) // of the section
	b = append(b, words(reloc, 0, 1, readData)...)        // one relocation
	b = append(b, rsrc...)
	b = append(b, words(dataEntry, 0)...) // in symbol 0
	b = le.AppendUint16(b, relative)
	b = append(b, ".rsrc\x00\x00\x00"...)
	b = append(b, words(0)...)
	b = le.AppendUint16(b, 1) // of section 1
	b = le.AppendUint16(b, 0)
	b = append(b, static, 0)
	return append(b, words(4)...) // no long names
}

func words(values ...uint32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}
