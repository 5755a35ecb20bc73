// Package unseal opens what package seal sealed: step 6 of a request's life, on
// premises. It is the only place that holds a private sealing key.
//
// A sealing key is made in memory, used for an hour and deleted four minutes
// after its successor was made, when nothing sealed for it can still be
// waiting. It is never written to a disk. With a directory in a tmpfs it
// outlives the process, so that a crash loses no request; without one it does
// not, and requests in flight end as unreadable.
package unseal

import (
	"crypto/hpke"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"writeback/internal/seal"
	"writeback/internal/secret"
)

// Times of a sealing key's life.
const (
	// Use is how long a key is announced.
	Use = time.Hour
	// Keep is how long a key is kept after its successor was made: longer
	// than a request lives in the queue (3 min) plus how long a publisher
	// believes an announcement (30 s).
	Keep = 4 * time.Minute
)

// ErrOpen is returned by [Keyring.Open] for every body it refuses. It never
// says why, so that an outcome cannot be used to probe a key.
var ErrOpen = errors.New("the sealed body cannot be opened")

// ErrNoBox is returned by [Keyring.Open] when the body was sealed for none of
// our keys. Another consumer may have one.
var ErrNoBox = errors.New("the body is not sealed for a key that is held here")

// A box is one sealing key pair.
type box struct {
	id     seal.BoxID
	key    hpke.PrivateKey
	public []byte
	made   time.Time
}

// A Keyring holds the sealing keys of one consumer. Its methods may be called
// at the same time.
type Keyring struct {
	dir string

	mu    sync.Mutex
	boxes []box // oldest first; the last one is announced
}

// NewKeyring returns a keyring with a fresh key or, where dir is in use, the
// keys that an earlier run left there. dir must be on a tmpfs, or empty for
// keys that live in memory only.
func NewKeyring(dir string, now time.Time) (*Keyring, error) {
	k := &Keyring{dir: dir}
	if dir != "" {
		if err := prepare(dir); err != nil {
			return nil, err
		}
		if err := k.load(now); err != nil {
			return nil, err
		}
	}
	return k, k.Rotate(now)
}

// Rotate makes a new key if the newest has served its time, and deletes those
// that nothing can be sealed for any more. Call it every few seconds.
func (k *Keyring) Rotate(now time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	// A key from the future was made by a clock that has been set back
	// since: it would be announced too long.
	if n := len(k.boxes); n == 0 || now.Sub(k.boxes[n-1].made) >= Use || k.boxes[n-1].made.After(now) {
		b, err := newBox(now)
		if err != nil {
			return err
		}
		if err := k.save(b); err != nil {
			return err
		}
		k.boxes = append(k.boxes, b)
	}
	var kept []box
	for i, b := range k.boxes {
		if i+1 < len(k.boxes) && now.Sub(k.boxes[i+1].made) >= Keep {
			if k.dir != "" {
				if err := remove(k.path(b)); err != nil {
					return err
				}
			}
			continue
		}
		kept = append(kept, b)
	}
	k.boxes = kept
	return nil
}

// Public returns the public half of the key that is to be announced, and when
// the key was made.
func (k *Keyring) Public() ([]byte, time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b := k.boxes[len(k.boxes)-1]
	return slices.Clone(b.public), b.made
}

// Open opens a body that [seal.Body] sealed under header. Its error is
// [ErrNoBox] or [ErrOpen].
func (k *Keyring) Open(wraps []seal.Wrap, header, body []byte) ([]byte, error) {
	key, wrap, ok := k.find(wraps)
	if !ok {
		return nil, ErrNoBox
	}
	cek, err := hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), seal.WrapInfo(header, wrap.Box), wrap.Sealed[:])
	if err != nil {
		return nil, ErrOpen
	}
	defer clear(cek)
	aead, err := seal.BodyAEAD(cek)
	if err != nil {
		return nil, ErrOpen
	}
	plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), body, header)
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

func (k *Keyring) find(wraps []seal.Wrap) (hpke.PrivateKey, *seal.Wrap, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range wraps {
		for _, b := range k.boxes {
			if b.id == wraps[i].Box {
				return b.key, &wraps[i], true
			}
		}
	}
	return nil, nil, false
}

// Format writes "[secret]" for every verb.
func (*Keyring) Format(s fmt.State, _ rune) { fmt.Fprint(s, "[secret]") }

func newBox(now time.Time) (box, error) {
	secret.OverwriteStack() // makes it large enough, so that it does not move below
	defer secret.OverwriteStack()
	key, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return box{}, fmt.Errorf("making a sealing key: %w", err)
	}
	return boxOf(key, now)
}

func boxOf(key hpke.PrivateKey, made time.Time) (box, error) {
	public := key.PublicKey().Bytes()
	sum := sha256.Sum256(public)
	return box{id: seal.BoxID(sum[:16]), key: key, public: public, made: made}, nil
}

// A key's file is named after when it was made and holds its private half.
const (
	filePrefix = "box-"
	unfinished = "new" // while it is written
)

func (k *Keyring) path(b box) string {
	return filepath.Join(k.dir, filePrefix+strconv.FormatInt(b.made.UnixMilli(), 10))
}

func (k *Keyring) save(b box) error {
	if k.dir == "" {
		return nil
	}
	private, err := b.key.Bytes()
	if err != nil {
		return fmt.Errorf("keeping a sealing key: %w", err)
	}
	// private is not cleared: it is the key's own memory, not a copy. The file
	// is renamed when complete, so that a crash leaves no half key.
	tmp := filepath.Join(k.dir, unfinished)
	if err := os.WriteFile(tmp, private, 0o600); err != nil {
		return fmt.Errorf("keeping a sealing key: %w", err)
	}
	return os.Rename(tmp, k.path(b))
}

// remove overwrites a key's file, which a tmpfs does in place, and deletes it.
// One that is not there is no error.
func remove(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|noFollow, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		var info os.FileInfo
		if info, err = f.Stat(); err == nil {
			_, err = f.WriteAt(make([]byte, info.Size()), 0)
		}
		err = errors.Join(err, f.Close())
	}
	if err := errors.Join(err, os.Remove(path)); err != nil {
		return fmt.Errorf("deleting an old sealing key: %w", err)
	}
	return nil
}

// load reads the keys that an earlier run left, and deletes those whose time was
// over before this run began: that run would have deleted them.
func (k *Keyring) load(now time.Time) error {
	if err := remove(filepath.Join(k.dir, unfinished)); err != nil {
		return err
	}
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		stamp, ok := strings.CutPrefix(e.Name(), filePrefix)
		ms, err := strconv.ParseInt(stamp, 10, 64)
		if !ok || err != nil {
			continue
		}
		path, made := filepath.Join(k.dir, e.Name()), time.UnixMilli(ms)
		if now.Sub(made) >= Use+Keep {
			if err := remove(path); err != nil {
				return err
			}
			continue
		}
		b, err := readBox(path, made)
		if err != nil {
			return err
		}
		k.boxes = append(k.boxes, b)
	}
	slices.SortFunc(k.boxes, func(a, b box) int { return a.made.Compare(b.made) })
	return nil
}

func readBox(path string, made time.Time) (box, error) {
	v, err := seal.ReadFile(path)
	if err != nil {
		return box{}, err
	}
	defer v.Wipe()
	secret.OverwriteStack()
	defer secret.OverwriteStack()
	var b box
	err = v.Reveal(func(private []byte) error {
		key, err := hpke.MLKEM768X25519().NewPrivateKey(slices.Clone(private))
		if err != nil {
			return fmt.Errorf("%s: is not a sealing key; delete it", path)
		}
		b, err = boxOf(key, made)
		return err
	})
	return b, err
}
