package reference

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"writeback/internal/testkit"
)

// readComments returns a function that gives the comments of a struct's fields: what
// stands above a field, or else behind it, in one line, with the names of keys in
// the place of those of fields.
func readComments(t *testing.T) func(reflect.Type) map[string]string {
	root := testkit.Root(t)
	return func(of reflect.Type) map[string]string {
		t.Helper()
		dir := filepath.Join(root, strings.TrimPrefix(of.PkgPath(), "writeback/"))
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			if s := find(tree, of.Name()); s != nil {
				return commentsOf(s, of)
			}
		}
		t.Fatalf("there is no struct %s in %s", of.Name(), dir)
		return nil
	}
}

func find(tree *ast.File, name string) (found *ast.StructType) {
	ast.Inspect(tree, func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok && spec.Name.Name == name {
			found, _ = spec.Type.(*ast.StructType)
		}
		return found == nil
	})
	return found
}

func commentsOf(s *ast.StructType, of reflect.Type) map[string]string {
	comments := make(map[string]string)
	for _, f := range s.Fields.List {
		text := f.Doc.Text()
		if text == "" {
			text = f.Comment.Text()
		}
		text = strings.Join(strings.Fields(text), " ")
		for _, name := range f.Names {
			comments[name.Name] = named(strings.TrimSuffix(text, "."), of)
		}
	}
	return comments
}

// named replaces the names of fields in a comment by those of their keys.
func named(text string, of reflect.Type) string {
	for i := range of.NumField() {
		f := of.Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if key != "" && key != "-" {
			text = regexp.MustCompile(`\b`+f.Name+`\b`).ReplaceAllString(text, "`"+key+"`")
		}
	}
	return text
}
