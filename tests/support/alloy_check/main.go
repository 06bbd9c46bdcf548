// Reads a configuration of Alloy with Alloy's own parser and writes what it says as JSON: blocks, attributes, objects.
// Exits 1 with the parser's message when it is not the language, or not as Alloy's own formatter would write it.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/grafana/alloy/syntax/ast"
	"github.com/grafana/alloy/syntax/parser"
	"github.com/grafana/alloy/syntax/printer"
)

type block struct {
	Name       string         `json:"name"`
	Label      string         `json:"label"`
	Attributes map[string]any `json:"attributes"`
	Blocks     []block        `json:"blocks"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: alloy_check FILE")
		os.Exit(2)
	}
	text, err := os.ReadFile(os.Args[1])
	check(err)
	file, err := parser.ParseFile(os.Args[1], text)
	check(err)
	if formatted := print(file); strings.TrimSpace(formatted) != strings.TrimSpace(string(text)) {
		check(fmt.Errorf("not as Alloy's formatter writes it:\n%s", formatted))
	}
	_, blocks := read(file.Body)
	check(json.NewEncoder(os.Stdout).Encode(blocks))
}

func read(body ast.Body) (map[string]any, []block) {
	attributes, blocks := map[string]any{}, []block{}
	for _, statement := range body {
		switch s := statement.(type) {
		case *ast.AttributeStmt:
			attributes[s.Name.Name] = value(s.Value)
		case *ast.BlockStmt:
			inner, nested := read(s.Body)
			blocks = append(blocks, block{strings.Join(s.Name, "."), s.Label, inner, nested})
		}
	}
	return attributes, blocks
}

func value(expression ast.Expr) any {
	switch e := expression.(type) {
	case *ast.ObjectExpr:
		fields := map[string]any{}
		for _, field := range e.Fields {
			fields[field.Name.Name] = value(field.Value)
		}
		return fields
	case *ast.ArrayExpr:
		elements := []any{}
		for _, element := range e.Elements {
			elements = append(elements, value(element))
		}
		return elements
	case *ast.LiteralExpr:
		return strings.Trim(e.Value, "\"`")
	default:
		return print(e)
	}
}

func print(node ast.Node) string {
	var out bytes.Buffer
	check(printer.Fprint(&out, node))
	return out.String()
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
