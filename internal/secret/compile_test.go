package secret_test

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"strings"
	"testing"
)

// compile type-checks a function whose body is line.
func compile(t *testing.T, fset *token.FileSet, imports types.Importer, line string) error {
	t.Helper()
	own, err := parser.ParseFile(fset, "secret.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	user, err := parser.ParseFile(fset, "user.go", "package secret\nfunc use(a, b Value, m map[any]int) { "+line+" }\n", 0)
	if err != nil {
		t.Fatal(err)
	}
	conf := types.Config{Importer: imports}
	_, err = conf.Check("writeback/internal/secret", fset, []*ast.File{own, user}, nil)
	return err
}

// Comparing with == takes a time that depends on the bytes, and a map keyed by
// secrets compares too.
func TestValuesDoNotCompare(t *testing.T) {
	fset := token.NewFileSet()
	imports := importer.ForCompiler(fset, "source", nil)
	if err := compile(t, fset, imports, "_ = a.Empty()"); err != nil {
		t.Fatalf("the control does not compile: %v", err)
	}
	for _, line := range []string{"_ = a == b", "_ = a != Value{}", "var _ map[Value]int", "switch a { case b: }"} {
		err := compile(t, fset, imports, line)
		if err == nil || !strings.Contains(err.Error(), "compar") && !strings.Contains(err.Error(), "map key") {
			t.Errorf("%q compiles, or fails for another reason: %v", line, err)
		}
	}
}
