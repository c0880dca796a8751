// SPDX-License-Identifier: GPL-2.0
/*
 * ksmtop - fatal errors, allocation, small files
 */
#define _GNU_SOURCE
#include <limits.h>
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

/**
 * open_file() - open a file to read it
 * @root: directory that holds proc and sys
 * @format: path of the file below @root, as for printf()
 *
 * Return: the file, or NULL
 */
FILE *open_file(const char *root, const char *format, ...)
{
	char path[PATH_MAX];
	va_list args;
	int len;

	len = snprintf(path, sizeof(path), "%s", root);
	va_start(args, format);
	vsnprintf(path + len, sizeof(path) - len, format, args);
	va_end(args);
	return fopen(path, "re");
}

/**
 * read_text() - read the beginning of a file and close it
 * @file: the file, or NULL
 * @text: what was read, ended by a zero byte; untouched if nothing could be read
 * @size: size of @text; at most @size - 1 bytes are read
 *
 * Return: how many bytes were read
 */
size_t read_text(FILE *file, char *text, size_t size)
{
	size_t len;

	if (!file)
		return 0;
	len = fread(text, 1, size - 1, file);
	fclose(file);
	text[len] = '\0';
	return len;
}

/**
 * make_printable() - replace what is not printable ASCII
 * @text: is changed
 *
 * A process chooses its name, and control characters must not reach the terminal.
 */
void make_printable(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}
