package statement

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// render writes terms in the one rendering that docs/formats/statement.md specifies: the type's line, then
// `key = value` in the order of the struct's fields, then tables. Values are basic strings on one line, decimal
// integers, UTC times in seconds, and arrays of strings. A field tagged omitempty is left out when it is zero.
func render(t terms) []byte {
	var b strings.Builder
	b.WriteString(header(t.kind()))
	renderTable(&b, reflect.ValueOf(t))
	if s, ok := t.(interface{ sections() string }); ok {
		b.WriteString(s.sections())
	}
	return []byte(b.String())
}

// timeLayout is the one form of a time.
const timeLayout = "2006-01-02T15:04:05Z"

// header is line 1 of a statement.
func header(k Kind) string { return "entente.example/" + string(k) + "/v1\n" }

func renderTable(b *strings.Builder, v reflect.Value) {
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag.Get("toml")
		name, optional := strings.CutSuffix(tag, ",omitempty")
		f := v.Field(i)
		if name == "-" || optional && f.IsZero() {
			continue
		}
		switch {
		case isTable(f.Type()):
			fmt.Fprintf(b, "\n[%s]\n", name)
			renderTable(b, f)
		case f.Kind() == reflect.Slice && isTable(f.Type().Elem()):
			for j := range f.Len() {
				fmt.Fprintf(b, "\n[[%s]]\n", name)
				renderTable(b, f.Index(j))
			}
		default:
			for _, part := range []string{name, " = ", renderValue(f), "\n"} { // a decision renders a manifest, so it is worth something
				b.WriteString(part)
			}
		}
	}
}

func isTable(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[time.Time]()
}

func renderValue(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return quote(v.String())
	case reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = renderValue(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	switch x := v.Interface().(type) {
	case time.Time:
		return x.UTC().Format(timeLayout)
	case Hash:
		return quote(x.String())
	}
	panic("statement: terms hold a type without a rendering: " + v.Type().String())
}

var quoter = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// quote writes a basic string. Other control characters are refused before anything is rendered.
func quote(s string) string {
	if strings.ContainsAny(s, "\\\"\n") {
		s = quoter.Replace(s)
	}
	return `"` + s + `"`
}
