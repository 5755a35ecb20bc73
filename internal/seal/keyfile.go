package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"writeback/internal/config"
	"writeback/internal/secret"
)

// A Purpose is what a key is for. It stands in the key's file, and a program
// refuses a key that was made for another one.
type Purpose string

const (
	PurposePublisher Purpose = "publisher" // signs requests, switches, records of the cloud side
	PurposeConsumer  Purpose = "consumer"  // signs announcements and records of the on-premises side
	PurposeSlot      Purpose = "slot"      // names the slots of accounts; publishers only
	PurposeRecord    Purpose = "record"    // encrypts what is personal in records, one key a month
	PurposeSession   Purpose = "session"   // seals what browsers of signed-in people keep; publishers only
)

// A key file has one line a key: "wbkey1 PURPOSE BASE64", for a key of a month
// "wbkey1 record-2026-11 BASE64".
const magic = "wbkey1"

// maxKeyFile is far above a decade of months at 70 bytes.
const maxKeyFile = 16 << 10

// ReadFile returns what is in a file that holds a secret: a regular file of at
// most 16 KiB, owned by us or root, that neither group nor others can read. A
// link is not followed.
func ReadFile(path string) (secret.Value, error) {
	if path == "" {
		return secret.Value{}, errors.New("is missing")
	}
	f, err := config.OpenSecret(path)
	if err != nil {
		return secret.Value{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return secret.Value{}, err
	}
	if info.Size() > maxKeyFile {
		return secret.Value{}, fmt.Errorf("%s: has %d bytes, at most %d are read", path, info.Size(), maxKeyFile)
	}
	b := make([]byte, info.Size())
	n, err := f.ReadAt(b, 0)
	if n < len(b) {
		return secret.Value{}, fmt.Errorf("%s: reading: %w", path, err)
	}
	return secret.New(b), nil
}

// readKeys calls f with the purpose and the bytes of each key in a file.
func readKeys(path string, f func(purpose string, key []byte) error) error {
	v, err := ReadFile(path)
	if err != nil {
		return err
	}
	defer v.Wipe()
	return v.Reveal(func(b []byte) error {
		for i, line := range bytes.Split(bytes.TrimSpace(b), []byte("\n")) {
			fields := bytes.Fields(line)
			if len(fields) != 3 || string(fields[0]) != magic {
				return fmt.Errorf("%s: line %d is not \"%s PURPOSE BASE64\"", path, i+1, magic)
			}
			key := make([]byte, base64.StdEncoding.DecodedLen(len(fields[2])))
			n, err := base64.StdEncoding.Strict().Decode(key, fields[2])
			if err != nil || n != keySize {
				return fmt.Errorf("%s: line %d does not hold a key of %d bytes in base64", path, i+1, keySize)
			}
			if err := f(string(fields[1]), key[:n]); err != nil {
				return fmt.Errorf("%s: line %d: %w", path, i+1, err)
			}
		}
		return nil
	})
}

func readKey(path string, purpose Purpose) ([]byte, error) {
	var found []byte
	err := readKeys(path, func(p string, key []byte) error {
		switch {
		case p != string(purpose):
			return fmt.Errorf("is a key for %.20q, a key for %q is needed here", p, purpose)
		case found != nil:
			return errors.New("holds more than one key")
		}
		found = key
		return nil
	})
	if err != nil {
		clear(found)
		return nil, err
	}
	return found, nil
}

// LoadSigner reads a signing key.
func LoadSigner(path string, purpose Purpose) (*Signer, error) {
	seed, err := readKey(path, purpose)
	if err != nil {
		return nil, err
	}
	defer clear(seed)
	return NewSigner(purpose, seed)
}

// A SlotKey turns account names into slot tokens, and idempotency keys into
// request ids. Only publishers hold it.
type SlotKey struct{ key secret.Value }

func newSlotKey(key []byte) SlotKey { return SlotKey{key: secret.New(key)} }

// LoadSlotKey reads a slot key.
func LoadSlotKey(path string) (SlotKey, error) {
	key, err := readKey(path, PurposeSlot)
	if err != nil {
		return SlotKey{}, err
	}
	return newSlotKey(key), nil
}

// Format writes "[secret]" for every verb.
func (SlotKey) Format(s fmt.State, _ rune) { fmt.Fprint(s, "[secret]") }

// Slot returns the token of an account's slot in the queue: kind and name are
// the kind and the canonical form of the account's name.
func (k SlotKey) Slot(tenant, kind, name string) [16]byte {
	return k.mac("writeback/1 slot", tenant, kind, name)
}

// ID returns the id of the request that source made with an idempotency key.
func (k SlotKey) ID(tenant, source, idempotencyKey string) [16]byte {
	return k.mac("writeback/1 id", tenant, source, idempotencyKey)
}

// Fingerprint returns what two uses of one idempotency key must share. None of
// parts is, or depends on, a password.
func (k SlotKey) Fingerprint(parts ...string) [16]byte {
	return k.mac("writeback/1 fingerprint", parts...)
}

// mac separates its parts by their lengths, so that no two lists of parts have
// one encoding.
func (k SlotKey) mac(label string, parts ...string) [16]byte {
	var sum []byte
	k.key.Reveal(func(key []byte) error {
		h := hmac.New(sha256.New, key)
		for _, p := range append([]string{label}, parts...) {
			h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p))))
			h.Write([]byte(p))
		}
		sum = h.Sum(nil)
		return nil
	})
	return [16]byte(sum)
}

// A Month is a calendar month in UTC, as year*100 + month.
type Month uint32

// MonthOf returns the month of t.
func MonthOf(t time.Time) Month {
	t = t.UTC()
	return Month(t.Year()*100 + int(t.Month()))
}

// String returns "2026-11".
func (m Month) String() string { return fmt.Sprintf("%04d-%02d", m/100, m%100) }

// MonthKeys are the keys of a record.key file.
type MonthKeys struct{ keys map[Month]secret.Value }

// LoadMonthKeys reads a record.key file.
func LoadMonthKeys(path string) (MonthKeys, error) {
	keys := make(map[Month]secret.Value)
	err := readKeys(path, func(purpose string, key []byte) error {
		text, ok := strings.CutPrefix(purpose, string(PurposeRecord)+"-")
		at, err := time.Parse("2006-01", text)
		if !ok || err != nil {
			return fmt.Errorf("is a key for %.20q, keys for \"record-YEAR-MONTH\" are needed here", purpose)
		}
		if _, ok := keys[MonthOf(at)]; ok {
			return fmt.Errorf("is a second key for %s", text)
		}
		keys[MonthOf(at)] = secret.New(key)
		return nil
	})
	return MonthKeys{keys}, err
}

// Format writes "[secret]" for every verb.
func (MonthKeys) Format(s fmt.State, _ rune) { fmt.Fprint(s, "[secret]") }

// Key derives the record key of one request. ok is false where the month's key
// is not there, or no longer: what it encrypted is anonymous.
func (m MonthKeys) Key(month Month, tenant string, id [16]byte) (k RecordKey, ok bool) {
	key, ok := m.keys[month]
	if !ok {
		return RecordKey{}, false
	}
	info := "writeback/1 record\x00" + tenant + "\x00" + string(id[:])
	err := key.Reveal(func(key []byte) error {
		derived, err := hkdf.Expand(sha256.New, key, info, keySize)
		copy(k[:], derived)
		return err
	})
	if err != nil {
		panic("internal error: HKDF of 32 bytes cannot fail: " + err.Error())
	}
	return k, true
}

// Until returns the last month that has a key.
func (m MonthKeys) Until() Month {
	var last Month
	for month := range m.keys {
		last = max(last, month)
	}
	return last
}

// MakeKey writes a new random key for purpose to path, with mode 0600. A file
// that is there is left as it is: made is false, and the error tells whether it
// is a good one.
func MakeKey(path string, purpose Purpose) (made bool, err error) {
	if _, err := os.Lstat(path); err == nil {
		_, err := readKey(path, purpose)
		return false, err
	}
	return true, writeKeys(path, []string{string(purpose)})
}

// MakeMonthKeys writes a record.key with keys for the month of from and the
// months that follow it, count in all. Where the file is there, it keeps every
// key and adds the missing months; made says how many it added.
func MakeMonthKeys(path string, from time.Time, count int) (made int, err error) {
	have := MonthKeys{}
	if _, err := os.Lstat(path); err == nil {
		if have, err = LoadMonthKeys(path); err != nil {
			return 0, err
		}
	}
	first := time.Date(from.UTC().Year(), from.UTC().Month(), 1, 0, 0, 0, 0, time.UTC)
	var missing []string
	for i := range count {
		month := MonthOf(first.AddDate(0, i, 0))
		if _, ok := have.keys[month]; !ok {
			missing = append(missing, fmt.Sprintf("%s-%s", PurposeRecord, month))
		}
	}
	if len(missing) == 0 {
		return 0, nil
	}
	return len(missing), writeKeys(path, missing)
}

// writeKeys adds a new key for each of purposes to the file at path. The file
// is replaced as a whole, so that a crash leaves the old one or the new one.
func writeKeys(path string, purposes []string) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	defer clear(old)
	text := slices.Clone(old)
	if len(text) != 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n') // whoever edited it last left none
	}
	for _, p := range purposes {
		key := make([]byte, keySize)
		rand.Read(key)
		text = fmt.Appendf(text, "%s %s %s\n", magic, p, base64.StdEncoding.EncodeToString(key))
		clear(key)
	}
	defer clear(text)
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	if err = config.Shut(f.Name()); err == nil {
		_, err = f.Write(text)
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}

// ReadLine returns what is in a secret file that people write, as [ReadFile]
// does, without the newline at its end.
func ReadLine(path string) (secret.Value, error) {
	v, err := ReadFile(path)
	if err != nil {
		return secret.Value{}, err
	}
	var line secret.Value
	err = v.Reveal(func(b []byte) error {
		b = bytes.TrimSuffix(b, []byte("\n"))
		line = secret.New(bytes.TrimSuffix(b, []byte("\r")))
		return nil
	})
	return line, err
}
