package ententetest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSignaturesNameNoInternalType type-checks the package and looks at everything that a test elsewhere can see of it.
// Who imports the package cannot name, make or hold on to a type of an internal package.
func TestSignaturesNameNoInternalType(t *testing.T) {
	t.Parallel()
	const path = "entente.example/ententetest"
	pkg := check(t, path)
	v := &visitor{seen: map[types.Type]bool{}}
	for _, name := range pkg.Scope().Names() {
		if o := pkg.Scope().Lookup(name); o.Exported() {
			v.visit(name, o.Type())
		}
	}
	for _, found := range v.found {
		t.Error(found)
	}
	// It can fail: the package does use internal types where nobody sees it.
	v = &visitor{seen: map[types.Type]bool{}, hidden: true}
	v.visit("World", pkg.Scope().Lookup("World").Type())
	if len(v.found) == 0 {
		t.Error("World holds no internal type at all; does this test still look?")
	}
}

// check type-checks a package from its sources, and what it imports from the compiler's export data.
func check(t *testing.T, path string) *types.Package {
	t.Helper()
	exports := exportData(t, path)
	set := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	lookup := func(path string) (io.ReadCloser, error) {
		name, ok := exports[path]
		if !ok {
			return nil, errors.New("no export data for " + path)
		}
		return os.Open(name)
	}
	config := types.Config{Importer: importer.ForCompiler(set, "gc", lookup)}
	pkg, err := config.Check(path, set, files, nil)
	if err != nil {
		t.Fatal(err)
	}
	return pkg
}

func exportData(t *testing.T, path string) map[string]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Export", path)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, &stderr)
	}
	exports := map[string]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct{ ImportPath, Export string }
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return exports
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
	}
}

// visitor follows types to all that can be seen of them from outside or, if hidden is set, to all there is.
type visitor struct {
	hidden bool
	seen   map[types.Type]bool
	found  []string
}

func (v *visitor) visit(where string, t types.Type) {
	if v.seen[t] {
		return
	}
	v.seen[t] = true
	switch t := t.(type) {
	case *types.Alias:
		v.visit(where, types.Unalias(t))
	case *types.Named:
		v.named(where, t)
	case *types.Struct:
		for f := range t.Fields() {
			if f.Exported() || v.hidden {
				v.visit(where+"."+f.Name(), f.Type())
			}
		}
	case *types.Signature:
		v.tuple(where, t.Params())
		v.tuple(where, t.Results())
	case *types.Interface:
		for m := range t.Methods() {
			v.visit(where+"."+m.Name(), m.Type())
		}
	case *types.Map:
		v.visit(where, t.Key())
		v.visit(where, t.Elem())
	case interface{ Elem() types.Type }: // pointer, slice, array, channel
		v.visit(where, t.Elem())
	}
}

func (v *visitor) tuple(where string, t *types.Tuple) {
	for p := range t.Variables() {
		v.visit(where, p.Type())
	}
}

func (v *visitor) named(where string, t *types.Named) {
	pkg := t.Obj().Pkg()
	if pkg == nil || !strings.HasPrefix(pkg.Path(), "entente.example/") {
		return // error, and what other modules answer for
	}
	if strings.Contains(pkg.Path(), "/internal/") {
		v.found = append(v.found, where+" names "+t.String())
		return
	}
	if !t.Obj().Exported() && !v.hidden {
		v.found = append(v.found, where+" names "+t.String()+", which nobody else can")
		return
	}
	if strings.HasSuffix(pkg.Path(), "/proto/entente/v1") {
		return // generated, and public as a whole
	}
	v.visit(where, t.Underlying())
	for m := range t.Methods() {
		if m.Exported() || v.hidden {
			v.visit(where+"."+m.Name(), m.Type())
		}
	}
}
