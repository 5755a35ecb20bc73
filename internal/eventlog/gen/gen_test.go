package main

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"writeback/internal/eventlog"
	"writeback/internal/testkit"
)

func TestUpToDate(t *testing.T) {
	got, err := os.ReadFile(filepath.Join(testkit.Root(t), "cmd/consumer/rsrc_windows_amd64.syso"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, object(resources(messageTable(eventlog.Events())))) {
		t.Error("cmd/consumer/rsrc_windows_amd64.syso is not of these events: run go generate ./internal/eventlog")
	}
}

// The consumer for Windows is built, and has the texts of all events where Windows
// looks for them.
func TestProgramHasTheTexts(t *testing.T) {
	program := filepath.Join(t.TempDir(), "consumer.exe")
	build := exec.Command("go", "build", "-o", program, "./cmd/consumer")
	build.Dir = testkit.Root(t)
	build.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f, err := pe.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	texts := decodeTable(t, findResource(t, f, typeMessageTable))
	for _, e := range eventlog.Events() {
		if want := strings.ReplaceAll(e.Text, "\n", "\r\n") + "\r\n"; texts[e.ID] != want {
			t.Errorf("event %d has text %q, want %q", e.ID, texts[e.ID], want)
		}
		delete(texts, e.ID)
	}
	if len(texts) != 0 {
		t.Errorf("there are more texts: %v", texts)
	}
}

// findResource goes the way through the directories of a program's resources
// (PE format, the .rsrc section) to the first of a type.
func findResource(t *testing.T, f *pe.File, kind uint32) []byte {
	t.Helper()
	start := f.OptionalHeader.(*pe.OptionalHeader64).DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_RESOURCE].VirtualAddress
	section := f.Section(".rsrc")
	if section == nil || section.VirtualAddress != start {
		t.Fatalf("the resources are said to be at %#x, the section is %+v", start, section)
	}
	raw, err := section.Data()
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	entry := func(dir, id uint32) uint32 {
		named, count := uint32(le.Uint16(raw[dir+12:])), uint32(le.Uint16(raw[dir+14:]))
		for i := range named + count {
			e := raw[dir+16+8*i:]
			if id == 0 || le.Uint32(e) == id {
				return le.Uint32(e[4:])
			}
		}
		t.Fatalf("the directory at %#x has no entry %d", dir, id)
		return 0
	}
	names := entry(0, kind)
	languages := entry(names&^folder, 0)
	at := entry(languages&^folder, 0)
	if names&folder == 0 || languages&folder == 0 || at&folder != 0 {
		t.Fatalf("the directories do not lead to data: %#x, %#x, %#x", names, languages, at)
	}
	address, size := le.Uint32(raw[at:]), le.Uint32(raw[at+4:])
	return raw[address-start : address-start+size]
}

// decodeTable reads a message table as FormatMessage does.
func decodeTable(t *testing.T, table []byte) map[uint32]string {
	t.Helper()
	le := binary.LittleEndian
	texts := make(map[uint32]string)
	for i := range le.Uint32(table) {
		block := table[4+12*i:]
		at := le.Uint32(block[8:])
		for id := le.Uint32(block); id <= le.Uint32(block[4:]); id++ {
			length := uint32(le.Uint16(table[at:]))
			if flags := le.Uint16(table[at+2:]); flags != 1 || length%4 != 0 || at%4 != 0 {
				t.Errorf("event %d has flags %d and %d bytes at %d", id, flags, length, at)
			}
			var units []uint16
			for b := table[at+4 : at+length]; len(b) > 0; b = b[2:] {
				units = append(units, le.Uint16(b))
			}
			text, _, ended := strings.Cut(string(utf16.Decode(units)), "\x00")
			if !ended {
				t.Errorf("the text of event %d does not end", id)
			}
			texts[id] = text
			at += length
		}
	}
	return texts
}
