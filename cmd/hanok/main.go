// Command hanok is a private cloud that speaks the OpenStack APIs. This package holds flags and
// wiring only: what a command does lives in internal/.
package main

func main() {}
