package db

import (
	"slices"
	"strconv"
	"strings"
)

// Where collects the conditions of a query whose filters are known only at run time. Texts use ? for the next argument;
// Where numbers them. The zero value is ready.
type Where struct {
	conds []string
	args  []any
}

// Add adds a condition: w.Add("name = ?", name). Every ? takes one argument.
func (w *Where) Add(cond string, args ...any) *Where {
	w.conds = append(w.conds, w.number(cond, args))
	return w
}

// In adds "column IN (…)"; an empty list matches nothing.
func (w *Where) In(column string, values []string) *Where {
	if len(values) == 0 {
		w.conds = append(w.conds, "1 = 0")
		return w
	}
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = v
	}
	return w.Add(column+" IN (?"+strings.Repeat(", ?", len(values)-1)+")", args...)
}

// Arg adds an argument without a condition and returns its placeholder, for other parts of the statement (LIMIT).
func (w *Where) Arg(v any) string {
	w.args = append(w.args, v)
	return "$" + strconv.Itoa(len(w.args))
}

// SQL is " WHERE a AND b", or empty.
func (w *Where) SQL() string {
	if len(w.conds) == 0 {
		return ""
	}
	return " WHERE " + Join(w.conds, " AND ")
}

// flatMost is how many conditions stand in a row. SQLite reads a row as a tree as deep as the row is long and refuses one of more than
// 1,000, which a client may ask for: each value of a filter is a condition.
const flatMost = 64

// Join joins conditions by " AND " or " OR ", in halves of halves where they are many.
func Join(conds []string, op string) string {
	if len(conds) <= flatMost {
		return strings.Join(conds, op)
	}
	half := len(conds) / 2
	return "(" + Join(conds[:half], op) + ")" + op + "(" + Join(conds[half:], op) + ")"
}

// Args are the arguments for all placeholders so far.
func (w *Where) Args() []any { return w.args }

func (w *Where) number(cond string, args []any) string {
	var b strings.Builder
	b.WriteByte('(')
	for _, part := range strings.SplitAfter(cond, "?") {
		text, asks := strings.CutSuffix(part, "?")
		b.WriteString(text)
		if asks {
			w.args = append(w.args, args[0])
			args = args[1:]
			b.WriteString("$" + strconv.Itoa(len(w.args)))
		}
	}
	if len(args) != 0 {
		panic("more arguments than ? in: " + cond)
	}
	b.WriteByte(')')
	return b.String()
}

// Order is one sort key. Columns must be NOT NULL (or wrapped in coalesce), so that both engines sort alike; the last key must
// be unique.
type Order struct {
	Column string
	Desc   bool
}

// After keeps the rows that come after the one with these values (the marker's) in that order. A column that comes again decides
// nothing and is left out: the condition grows with the square of the keys, and a client may repeat a key as often as it likes.
func (w *Where) After(orders []Order, values []any) *Where {
	var alternatives []string
	var args []any
	var earlier []int // what must be equal
	for i, o := range orders {
		if slices.ContainsFunc(earlier, func(j int) bool { return orders[j].Column == o.Column }) {
			continue
		}
		var same []string
		for _, j := range earlier {
			same = append(same, orders[j].Column+" = ?")
			args = append(args, values[j])
		}
		earlier = append(earlier, i)
		op := " > ?"
		if o.Desc {
			op = " < ?"
		}
		alternatives = append(alternatives, strings.Join(append(same, o.Column+op), " AND "))
		args = append(args, values[i])
	}
	return w.Add(Join(alternatives, " OR "), args...)
}

// OrderBy is " ORDER BY a, b DESC". A column that comes again is left out.
func OrderBy(orders []Order) string {
	var parts []string
	for i, o := range orders {
		if slices.ContainsFunc(orders[:i], func(e Order) bool { return e.Column == o.Column }) {
			continue
		}
		part := o.Column
		if o.Desc {
			part += " DESC"
		}
		parts = append(parts, part)
	}
	return " ORDER BY " + strings.Join(parts, ", ")
}
