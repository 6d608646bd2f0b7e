/*
 * The entry of the tiny guest, by PVH (32-bit protected mode, flat, no paging; EBX: hvm_start_info)
 * and by Multiboot (the same, EBX: multiboot information, EAX: 2BADB002h).
 */
	.section .note.pvh, "a", @note
	.align 4
	.long 4, 4, 18			/* name and descriptor sizes; XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long tiny_entry

	.section .multiboot, "a"
	.align 4
	.long 0x1badb002, 0x2, -(0x1badb002 + 0x2)	/* wants a memory map */

	.text
	.globl tiny_entry
tiny_entry:
	cld
	movl $stack_top, %esp
	pushl %ebx
	pushl %eax
	call tiny_main
1:	cli
	hlt
	jmp 1b

	.bss
	.align 16
	.skip 8192
stack_top:

	.section .note.GNU-stack, "", @progbits
