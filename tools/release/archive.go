package main

import (
	"archive/tar"
	"archive/zip"
	"cmp"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A file is one entry of an archive.
type file struct {
	name string // with slashes
	mode fs.FileMode
	data []byte
}

// documents are what goes into an archive besides programs: files, or directories
// with what they hold, and where they go.
func documents(p platform) map[string]string {
	list := map[string]string{
		"LICENSE": "LICENSE", "README.md": "README.md", "CHANGELOG.md": "CHANGELOG.md", "SECURITY.md": "SECURITY.md", "docs": "docs", "nats": "nats",
	}
	if p.os == "linux" {
		for _, name := range []string{"consumer.yaml", "policy.yaml", "publisher.yaml"} {
			list["tools/package/"+name] = "examples/" + name
		}
		for _, name := range []string{"writeback-consumer.service", "writeback-publisher.service"} {
			list["tools/package/"+name] = "systemd/" + name
		}
	}
	return list
}

// contents returns the files of an archive, sorted by name.
func contents(s sources, p platform, list []binary) ([]file, error) {
	files := []file{{"THIRD-PARTY-LICENSES.txt", 0o644, thirdParty(list)}}
	for _, b := range list {
		data, err := os.ReadFile(b.path)
		if err != nil {
			return nil, err
		}
		files = append(files, file{"bin/" + filepath.Base(b.path), 0o755, data}, file{"sbom/" + b.name + ".cdx.json", 0o644, b.sbom})
	}
	for from, to := range documents(p) {
		top := filepath.Join(s.root, filepath.FromSlash(from))
		err := filepath.WalkDir(top, func(at string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(at, ".go") {
				return err
			}
			below, err := filepath.Rel(top, at)
			if err != nil {
				return err
			}
			data, err := os.ReadFile(at)
			files = append(files, file{path.Join(to, filepath.ToSlash(below)), 0o644, data})
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.name, b.name) })
	return files, nil
}

// archive writes files below a directory of its own, as the platform likes it.
func archive(name string, files []file, at time.Time, p platform) error {
	write, suffix := writeTar, ".tar.gz"
	if p.os == "windows" {
		write, suffix = writeZip, ".zip"
	}
	f, err := os.Create(name + suffix)
	if err != nil {
		return err
	}
	return errors.Join(write(f, filepath.Base(name), files, at), f.Close())
}

func writeTar(w io.Writer, top string, files []file, at time.Time) error {
	zipped := gzip.NewWriter(w) // without a time of its own
	out := tar.NewWriter(zipped)
	for _, f := range files {
		err := out.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: path.Join(top, f.name), Mode: int64(f.mode), Size: int64(len(f.data)), ModTime: at, Uname: "root", Gname: "root",
		})
		if err != nil {
			return err
		}
		if _, err := out.Write(f.data); err != nil {
			return err
		}
	}
	return errors.Join(out.Close(), zipped.Close())
}

func writeZip(w io.Writer, top string, files []file, at time.Time) error {
	out := zip.NewWriter(w)
	for _, f := range files {
		h := &zip.FileHeader{Name: path.Join(top, f.name), Method: zip.Deflate, Modified: at}
		h.SetMode(f.mode)
		entry, err := out.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := entry.Write(f.data); err != nil {
			return err
		}
	}
	return out.Close()
}
