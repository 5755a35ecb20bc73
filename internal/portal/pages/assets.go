package pages

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed assets templates
var own embed.FS

const (
	assetsPath = "/assets/"
	brandPath  = "/brand/"
)

// An asset is a file that pages load. Its address changes with it, so that
// browsers may keep it.
type asset struct {
	name, version, kind string
	data                []byte
}

// kinds are those of files that may be loaded; a file of another kind is not.
func kindOf(name string) string {
	switch path.Ext(name) {
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".png":
		return "image/png"
	case ".txt":
		return "text/plain; charset=utf-8"
	}
	return ""
}

// Assets adds the files below dir, which pages name by their path from there: see
// the function "asset" of templates.
func (f *Frame) Assets(files fs.FS, dir string) error {
	return fs.WalkDir(files, dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		return f.addAsset(assetsPath+strings.TrimPrefix(name, dir+"/"), data)
	})
}

func (f *Frame) addAsset(name string, data []byte) error {
	if kindOf(name) == "" {
		return fmt.Errorf("pages: %s: is of no kind that is served", name)
	}
	sum := sha256.Sum256(data)
	f.assets[name] = asset{name: name, version: hex.EncodeToString(sum[:6]), kind: kindOf(name), data: data}
	return nil
}

// url returns the address of a file by its name below /assets/ or /brand/.
func (f *Frame) url(name string) (string, error) {
	for _, dir := range []string{assetsPath, brandPath} {
		if a, ok := f.assets[dir+name]; ok {
			return a.name + "?v=" + a.version, nil
		}
	}
	return "", fmt.Errorf("pages: there is no file %s", name)
}

func (f *Frame) serveAsset(w http.ResponseWriter, r *http.Request) {
	a, ok := f.assets[r.URL.Path]
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox") // of a drawing that is opened by itself
	if !ok {
		h.Set("Cache-Control", "no-store")
		http.Error(w, "There is no such file.", http.StatusNotFound)
		return
	}
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", "no-cache")
	if r.URL.Query().Get("v") == a.version {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.data))
}

// Templates adds the pages in dir: each file *.html but the layout is one, and
// defines "title" and "main", and whatever [Call.Fragment] renders of it.
func (f *Frame) Templates(files fs.FS, dir string) error {
	names, err := fs.Glob(files, dir+"/*.html")
	if err != nil {
		return err
	}
	for _, name := range names {
		if path.Base(name) == "layout.html" {
			continue
		}
		t, err := f.parse(f.layout, files, name)
		if err != nil {
			return err
		}
		f.templates[path.Base(name)] = t
	}
	return nil
}

func (f *Frame) parse(base *template.Template, files fs.FS, name string) (*template.Template, error) {
	t := template.New("").Funcs(template.FuncMap{"asset": f.url}).Option("missingkey=error")
	if base != nil {
		var err error
		if t, err = base.Clone(); err != nil {
			return nil, err
		}
	}
	return t.ParseFS(files, name)
}
