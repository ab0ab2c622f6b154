# Install: program, both libraries, header, pkg-config file, manual page, completion.
if(TARGET rwkv)
  install(TARGETS rwkv RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  # The program writes its own pages, from the tables that parse its options.
  set(pages ${CMAKE_BINARY_DIR}/pages)
  file(MAKE_DIRECTORY ${pages})
  add_custom_command(OUTPUT ${pages}/rwkv.1 ${pages}/rwkv ${pages}/_rwkv
    COMMAND rwkv completion man >${pages}/rwkv.1
    COMMAND rwkv completion bash >${pages}/rwkv
    COMMAND rwkv completion zsh >${pages}/_rwkv
    DEPENDS rwkv)
  add_custom_target(pages ALL DEPENDS ${pages}/rwkv.1 ${pages}/rwkv ${pages}/_rwkv)
  install(FILES ${pages}/rwkv.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${pages}/rwkv DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${pages}/_rwkv DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
endif()
install(TARGETS rk_static rk_shared
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/rk.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/rwkv RENAME copyright)

# The prefix is said relative to the file's own place, so that an installed tree may be moved.
file(RELATIVE_PATH RK_PC_PREFIX
  ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" RK_PC_PREFIX ${RK_PC_PREFIX})
foreach(dir LIBDIR INCLUDEDIR)
  set(RK_PC_${dir} ${CMAKE_INSTALL_${dir}})
  if(NOT IS_ABSOLUTE "${RK_PC_${dir}}")
    set(RK_PC_${dir} "\${prefix}/${RK_PC_${dir}}")
  endif()
endforeach()
configure_file(cmake/librk.pc.in librk.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/librk.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# make deb: one package of all of it, under /usr.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME rwkv)
set(CPACK_PACKAGE_CONTACT "the authors of rwkv.c <rwkv.c@localhost>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS liblapacke) # loaded, so nothing links to it
file(WRITE ${CMAKE_BINARY_DIR}/debian/triggers "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_BINARY_DIR}/debian/triggers)
include(CPack)
