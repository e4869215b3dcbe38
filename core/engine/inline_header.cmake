# Puts the text of INLINE in the place of its #include in HEADER, and writes OUT.
file(READ ${HEADER} text)
file(READ ${INLINE} inner)
string(REPLACE "#include \"core/base/syn_err.h\"\n" "${inner}" text "${text}")
file(WRITE ${OUT} "${text}")
