// SPDX-License-Identifier: GPL-2.0
/*
 * ksmtop - fatal errors and allocation
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "ksmtop.h"

/**
 * die() - print an error message and exit
 * @status: exit status
 * @format: as for printf(), without a newline
 */
noreturn void die(int status, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "ksmtop: ");
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(status);
}

/**
 * grow() - resize an allocation, or exit if there is no memory
 * @memory: the allocation, or NULL for a new one
 * @size: new size in bytes
 *
 * Return: the allocation, which the caller frees
 */
void *grow(void *memory, size_t size)
{
	memory = realloc(memory, size);
	if (!memory)
		die(EXIT_FAILURE, "out of memory");
	return memory;
}
